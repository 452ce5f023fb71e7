//! Clients that generators make of `docs/openapi.yaml`: compiled strictly, and used with the sandbox by the
//! programs in `tests/generated`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DESCRIPTION, root};
use crate::support::sandbox_process::Sandbox;

/// Where `tests/packages.sh` puts the generators that are written in Python.
const GENERATORS: &str = "target/python-generators/bin";

fn programs() -> PathBuf {
    root().join("tests/generated")
}

/// An empty directory with the program that uses a client.
fn directory(program: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::copy(programs().join(program), directory.path().join(program)).unwrap();
    directory
}

/// Runs a program in a directory, or panics with what it prints.
#[track_caller]
fn run(directory: &Path, program: impl AsRef<Path>, arguments: &[&str]) {
    run_command(Command::new(program.as_ref()).args(arguments), directory);
}

#[track_caller]
fn run_command(command: &mut Command, directory: &Path) {
    let output = command
        .current_dir(directory)
        .output()
        .expect("not installed: tests/slow.sh installs it");
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a program as the backend of a sandbox.
#[track_caller]
fn use_client(directory: &Path, program: impl AsRef<Path>, arguments: &[&str]) {
    let sandbox = Sandbox::start();
    let url = |addr| format!("http://{addr}");
    let mut command = Command::new(program.as_ref());
    command
        .args(arguments)
        .env("WXLOGIN", url(sandbox.public().addr))
        .env("WXLOGIN_INTERNAL", url(sandbox.internal().addr))
        .env("INTERNAL_TOKEN", sandbox.value("INTERNAL_TOKEN"))
        .env("NO_PROXY", "127.0.0.1");
    run_command(&mut command, directory);
}

#[test]
#[ignore = "minutes"]
fn a_generated_client_in_typescript_compiles_and_works() {
    let directory = directory("client.ts");
    let dir = directory.path();
    fs::copy(programs().join("package.json"), dir.join("package.json")).unwrap();
    symlink(programs().join("node_modules"), dir.join("node_modules")).unwrap();
    let description = root().join(DESCRIPTION);
    let description = description.to_str().unwrap();
    let generator = "node_modules/.bin/openapi-typescript";
    run(
        dir,
        dir.join(generator),
        &[description, "-o", "wxlogin.d.ts"],
    );
    let strict = [
        "--strict",
        "--noUncheckedIndexedAccess",
        "--exactOptionalPropertyTypes",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "client.ts",
    ];
    run(dir, dir.join("node_modules/.bin/tsc"), &strict);
    use_client(dir, "node", &["client.js"]);
}

#[test]
#[ignore = "minutes"]
fn a_generated_client_in_python_compiles_and_works() {
    let directory = directory("client.py");
    let dir = directory.path();
    let generators = root().join(GENERATORS);
    let path = std::env::var("PATH").unwrap();
    let mut generator = Command::new(generators.join("openapi-python-client"));
    generator
        .args(["generate", "--meta", "none", "--fail-on-warning"])
        .args(["--output-path", "wxlogin_client", "--path"])
        .arg(root().join(DESCRIPTION))
        // It formats with ruff, which is beside it.
        .env("PATH", format!("{}:{path}", generators.display()));
    run_command(&mut generator, dir);
    let typed = [
        "--strict",
        "--follow-imports=silent", // the generator's own client.py is not strict
        "client.py",
        "wxlogin_client/api",
        "wxlogin_client/models",
    ];
    run(dir, generators.join("mypy"), &typed);
    use_client(dir, generators.join("python"), &["client.py"]);
}

#[test]
#[ignore = "minutes"]
fn a_generated_client_in_go_compiles_and_works() {
    let directory = directory("client.go");
    let dir = directory.path();
    fs::write(dir.join("go.mod"), "module generated\n\ngo 1.19\n").unwrap();
    let mut generator = Command::new(root().join(GENERATORS).join("openapi-generator-cli"));
    generator
        .args(["generate", "--generator-name", "go", "--output", "wxlogin"])
        .args([
            "--additional-properties",
            "packageName=wxlogin,withGoMod=false",
        ])
        .args([
            "--additional-properties",
            "disallowAdditionalPropertiesIfNotPresent=false",
        ])
        .arg("--input-spec")
        .arg(root().join(DESCRIPTION));
    run_command(&mut generator, dir);
    fs::remove_dir_all(dir.join("wxlogin/test")).unwrap(); // examples that call nothing, and need more packages
    run(dir, "go", &["vet", "./..."]);
    run(dir, "go", &["build", "-o", "client", "."]);
    use_client(dir, dir.join("client"), &[]);
}
