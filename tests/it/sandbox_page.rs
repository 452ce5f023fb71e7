//! The sandbox's page in headless Chromium. The pictures that it takes are kept in target/tmp.

use std::path::Path;

use crate::node::node;
use crate::sandbox_process::Sandbox;

#[test]
fn the_page_works_in_a_browser() {
    let sandbox = Sandbox::start();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let vars = [
        ("PAGE", &*sandbox.value("Page 页面")),
        ("PICTURES", pictures.to_str().unwrap()),
    ];
    node("tests/sandbox", &["--test", "page.test.js"], &vars);
    for picture in ["sandbox.png", "sandbox-narrow.png"] {
        assert!(pictures.join(picture).is_file(), "{picture}");
    }
}
