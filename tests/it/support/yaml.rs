//! Reads YAML, with the Python that `tests/packages.sh` sets up for schemathesis.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A key that stands twice is an error, as in the YAML readers of other languages.
const TO_JSON: &str = "
import json, sys, yaml

class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        assert not twice, f'{twice[0]} stands twice, {node.start_mark}'
        return super().construct_mapping(node, deep)

json.dump(yaml.load(sys.stdin, Strict), sys.stdout)";

/// A program of the Python virtual environment.
pub fn python(program: &str) -> Command {
    let programs = root().join("target/python/bin");
    assert!(programs.is_dir(), "run tests/packages.sh first");
    Command::new(programs.join(program))
}

/// The document in a file of the project.
pub fn read(path: &str) -> Value {
    let file = std::fs::File::open(root().join(path)).expect(path);
    let output = python("python3")
        .args(["-c", TO_JSON])
        .stdin(file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
