//! The client for Mini Programs: its own tests, in Node with the sandbox.
//!
//! As it is and as build tools make it: Vite for uni-app, webpack for Taro. The slow test builds whole projects.

use std::path::{Path, PathBuf};

use crate::support::node::node;

/// The tests of a client, whichever file it is in.
const CLIENT: [&str; 6] = [
    "login.test.js",
    "logout.test.js",
    "request.test.js",
    "socket.test.js",
    "task.test.js",
    "wx.test.js",
];

#[track_caller]
fn run(args: &[&str], client: &Path) {
    run_in("tests/miniprogram", args, client);
}

#[track_caller]
fn run_in(directory: &str, args: &[&str], client: &Path) {
    let binary = std::env::current_exe().unwrap();
    let sandbox = binary.ancestors().nth(2).unwrap().join("examples/sandbox");
    let vars = [
        ("WXLOGIN_SANDBOX", sandbox.to_str().unwrap()),
        ("WXLOGIN_CLIENT", client.to_str().unwrap()),
    ];
    node(directory, args, &vars);
}

#[track_caller]
fn test_files(files: &[&str], client: &Path) {
    run(&[&["--test"], files].concat(), client);
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/miniprogram")
        .join(file)
}

#[test]
fn the_mini_programs_client_passes_its_tests_as_commonjs() {
    test_files(&CLIENT, &example("wxlogin.js"));
}

#[test]
fn the_mini_programs_client_passes_its_tests_as_an_es_module() {
    test_files(&CLIENT, &example("wxlogin.mjs"));
}

#[test]
#[ignore = "minutes"]
fn the_mini_programs_client_passes_its_tests_after_a_build_by_vite_and_by_webpack() {
    let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("miniprogram");
    let dist = project.join("dist");
    let _ = std::fs::remove_dir_all(&project); // what an earlier run built
    run(&["build.mjs", project.to_str().unwrap()], &project);
    test_files(&CLIENT, &dist.join("vite.cjs"));
    test_files(&CLIENT, &dist.join("webpack.cjs"));
}

#[test]
#[ignore = "minutes"]
fn the_mini_programs_client_works_in_real_projects_of_uni_app_taro_and_npm() {
    let args = ["--test", "frameworks.test.js"];
    run_in(
        "tests/miniprogram-frameworks",
        &args,
        &example("wxlogin.js"),
    );
}

#[test]
fn the_mini_programs_client_works_under_a_request_library() {
    test_files(&["luch.test.js"], &example("wxlogin.js"));
}

#[test]
fn the_example_for_devtools_shows_an_openid_and_failures_as_text() {
    test_files(&["example.test.js"], &example("wxlogin.js"));
}

#[test]
fn typescript_takes_right_programs_and_refuses_wrong_ones() {
    test_files(&["types.test.js"], &example("wxlogin.js"));
}
