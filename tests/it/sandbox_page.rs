//! The sandbox's page in headless Chromium. The pictures that it takes are kept in target/tmp.

use std::path::Path;
use std::process::Command;

use crate::sandbox_process::Sandbox;

#[test]
fn the_page_works_in_a_browser() {
    let sandbox = Sandbox::start();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new("node")
        .args(["--test", "page.test.js"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox"))
        .env("PAGE", sandbox.value("Page 页面"))
        .env("PICTURES", pictures)
        .output()
        .expect("not installed: tests/run.sh installs it");
    assert!(
        output.status.success(),
        "tests/run.sh installs what may be missing\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for picture in ["sandbox.png", "sandbox-narrow.png"] {
        assert!(pictures.join(picture).is_file(), "{picture}");
    }
}
