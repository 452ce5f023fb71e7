//! The sandbox's page in headless Chromium. The pictures that it takes are kept in target/tmp.

use std::path::Path;

use crate::support::node::node;
use crate::support::sandbox_process::Sandbox;

/// Each file has a sandbox of its own.
#[track_caller]
fn test_file(file: &str) {
    let sandbox = Sandbox::start();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let vars = [
        ("PAGE", &*sandbox.value("Page 页面")),
        ("PICTURES", pictures.to_str().unwrap()),
    ];
    node("tests/browser", &["--test", file], &vars);
}

#[test]
fn the_page_works_in_a_browser() {
    test_file("page.test.js");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for picture in ["sandbox.png", "sandbox-narrow.png"] {
        assert!(pictures.join(picture).is_file(), "{picture}");
    }
}

#[test]
fn the_page_works_by_keyboard_alone() {
    test_file("keyboard.test.js");
}

#[test]
#[ignore = "minutes"]
fn axe_finds_nothing_on_the_page() {
    test_file("axe.test.js");
}
