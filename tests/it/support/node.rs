//! Runs JavaScript tests in Node.

use std::path::Path;
use std::process::Command;

/// Runs `node` in a directory of tests, with these environment variables.
#[track_caller]
pub fn node(directory: &str, args: &[&str], vars: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .args(args)
        .current_dir(root.join(directory))
        .envs(vars.iter().copied())
        .output()
        .expect("not installed: tests/run.sh installs it");
    assert!(
        output.status.success(),
        "tests/run.sh installs what may be missing\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
