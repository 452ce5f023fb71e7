//! The client for Mini Programs: its own tests, with the sandbox.

use std::path::Path;
use std::process::Command;

#[test]
fn the_mini_programs_client_passes_its_tests_with_the_sandbox() {
    let binary = std::env::current_exe().unwrap();
    let target = binary.ancestors().nth(2).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .args(["--test", "examples/miniprogram/wxlogin.test.js"])
        .current_dir(root)
        .env("WXLOGIN_SANDBOX", target.join("examples/sandbox"))
        .output()
        .expect("not installed: tests/run.sh installs it");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
