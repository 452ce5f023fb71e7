//! `examples/compose.yaml` cannot be started in a test: the files, settings and ports that it names are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use wxlogin::config::{self, ServerConfig};

use crate::support::yaml;

const SECRETS: [(&str, &str); 2] = [
    (
        "wechat-apps",
        "wx0123456789abcdef:0123456789abcdef0123456789abcdef\n",
    ),
    ("internal-token", "0123456789abcdef0123456789abcdef\n"),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn compose() -> Value {
    yaml::read("examples/compose.yaml")
}

fn read(path: &str) -> String {
    fs::read_to_string(examples().join(path)).expect(path)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The settings of wxlogin, with secrets in `dir` instead of where Docker puts them.
fn settings(compose: &Value, dir: &Path) -> BTreeMap<String, String> {
    for (name, content) in SECRETS {
        fs::write(dir.join(name), content).unwrap();
    }
    let environment = compose["services"]["wxlogin"]["environment"].as_object();
    let settings = environment.unwrap().iter().map(|(name, value)| {
        let value = text(value).replace("/run/secrets", dir.to_str().unwrap());
        (name.clone(), value)
    });
    settings.collect()
}

#[test]
fn its_settings_exist_and_are_valid_and_nothing_is_a_warning() {
    let compose = compose();
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&compose, dir.path());
    for name in settings.keys() {
        assert!(config::names().contains(name.as_str()), "{name}");
    }
    let config = ServerConfig::from_vars(&settings).unwrap();
    let warnings = &config.service.warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
    let secrets = list(&compose["services"]["wxlogin"]["secrets"]);
    let secrets: BTreeSet<_> = secrets.iter().map(text).collect();
    assert_eq!(secrets, SECRETS.map(|(name, _)| name).into());

    // The addresses at which the other services reach wxlogin.
    let upstream = format!("server {}", config.listen_addr);
    assert!(read("nginx.conf").contains(&upstream), "{upstream}");
    let internal = config.internal_addr.unwrap();
    let target = format!("targets: ['{internal}']");
    assert!(read("prometheus/prometheus.yml").contains(&target));
    let options = list(&compose["services"]["prometheus"]["command"]);
    let address = options
        .iter()
        .find_map(|option| text(option).strip_prefix("--web.listen-address="));
    assert_ne!(address.unwrap(), internal.to_string());
}

#[test]
fn its_files_exist() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let secrets = compose["secrets"].as_object().unwrap();
    let volumes = compose["volumes"].as_object().unwrap();
    for service in services.values() {
        for volume in list(&service["volumes"]) {
            let source = text(volume).split(':').next().unwrap();
            if source.starts_with('.') {
                assert!(examples().join(source).is_file(), "{source}");
            } else {
                assert!(volumes.contains_key(source), "{source}");
            }
        }
        for secret in list(&service["secrets"]) {
            let source = secret.as_str().unwrap_or_else(|| text(&secret["source"]));
            assert!(secrets.contains_key(source), "{source}");
            if let Some(target) = secret["target"].as_str() {
                assert!(read("nginx.conf").contains(target), "{target}");
            }
        }
    }
    let ignored = read("../.gitignore");
    for secret in secrets.values() {
        assert!(text(&secret["file"]).starts_with("./secrets/"));
        assert!(ignored.contains("/examples/secrets"));
    }
}

#[test]
fn it_builds_a_target_of_the_dockerfile() {
    let build = &compose()["services"]["wxlogin"]["build"];
    let dockerfile = examples().join(text(&build["context"])).join("Dockerfile");
    let dockerfile = fs::read_to_string(dockerfile).unwrap();
    let stage = format!(" AS {}", text(&build["target"]));
    let mut lines = dockerfile.lines();
    assert!(lines.any(|line| line.starts_with("FROM ") && line.ends_with(&stage)));
}

#[test]
fn the_command_of_prometheus_runs_with_its_configuration() {
    let compose = compose();
    let dir = tempfile::tempdir().unwrap();
    let prometheus = &compose["services"]["prometheus"];
    let arguments = list(&prometheus["command"]).iter().map(|argument| {
        let argument = text(argument).replace("127.0.0.1:9091", "127.0.0.1:0");
        let examples = examples().join("prometheus");
        let argument = argument.replace("/etc/prometheus", examples.to_str().unwrap());
        argument.replace("=/prometheus", &format!("={}", dir.path().display()))
    });
    let mut command = Command::new("prometheus");
    let mut child = command
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = Vec::new();
    let is_ready = lines.map_while(Result::ok).any(|line| {
        log.push(line);
        log.last()
            .unwrap()
            .contains("ready to receive web requests")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_ready, "{log:#?}");
}

#[test]
fn images_can_be_replaced_and_the_logs_of_all_are_bounded() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        let image = text(&service["image"]);
        assert!(image.starts_with("${") && image.contains(":-"), "{image}");
        assert_eq!(service["logging"]["driver"], "json-file", "{name}");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "{name}");
    }
    let dockerfile = read("../Dockerfile");
    let arguments = &compose["services"]["wxlogin"]["build"]["args"];
    for name in arguments.as_object().unwrap().keys() {
        assert!(dockerfile.contains(&format!("ARG {name}")), "{name}");
    }
    // What the image of nginx shows as its log: another file would grow in the container.
    assert!(read("nginx.conf").contains("access_log /var/log/nginx/access.log "));
}
