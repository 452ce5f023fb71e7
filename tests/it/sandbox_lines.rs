//! The sandbox, as a person who follows what it prints: every `curl` line works as it stands.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The example, killed when it is dropped.
struct Sandbox(Child);

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it; returns what it prints.
fn start() -> (Sandbox, Vec<String>) {
    // Cargo builds examples beside the tests.
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let mut child = Command::new(target.join("examples/sandbox"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    for line in lines {
        printed.push(line.unwrap());
        if printed.last().unwrap().starts_with("Ctrl-C") {
            break;
        }
    }
    (Sandbox(child), printed)
}

/// The `curl` commands, each on one line.
fn commands(printed: &[String]) -> Vec<String> {
    let text = printed.join("\n").replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    let commands = lines.filter(|line| line.starts_with("curl "));
    commands.map(str::to_owned).collect()
}

/// Runs a command; returns the status and the answer.
fn run(command: &str) -> (u16, Value) {
    let command = command.replacen(
        "curl",
        "curl --silent --noproxy '*' --write-out '\n%{http_code}'",
        1,
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (
        status.parse().unwrap(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

#[test]
fn every_curl_line_that_it_prints_works_as_it_stands() {
    let (_sandbox, printed) = start();
    let commands = commands(&printed);
    let of = |part: &str| {
        let mut found = commands.iter().filter(|command| command.contains(part));
        let command = found
            .next()
            .unwrap_or_else(|| panic!("{part} in {commands:#?}"));
        command.clone()
    };
    let (status, login) = run(&of("/onLogin?code="));
    assert_eq!(status, 200, "{login}");
    let token = login["token"].as_str().unwrap();
    let with_token =
        |part: &str| run(&of(part).replace("Bearer TOKEN", &format!("Bearer {token}")));
    let (status, session) = with_token("/session");
    assert_eq!((status, &session["openid"]), (200, &login["openid"]));
    let (status, data) = with_token("/session/decrypt");
    assert_eq!((status, &data["openId"]), (200, &login["openid"]));

    let (status, number) = run(&of("/phone"));
    assert_eq!(
        (status, &number["countryCode"]),
        (200, &"86".into()),
        "{number}"
    );
    let (status, signed) = run(&of("/sign"));
    assert_eq!(
        (status, signed["signature"].as_str().unwrap().len()),
        (200, 64)
    );
    assert_eq!(
        run(&of("/session_key")),
        (200, serde_json::json!({"valid": true}))
    );
    let (status, access_token) = run(&of("/access_token/"));
    assert_eq!((status, &access_token["expires_in"]), (200, &7200.into()));
    let (status, _) = run(&of("/sessions"));
    assert_eq!(status, 204);
    let (status, ended) = with_token("/session");
    assert_eq!((status, &ended["code"]), (401, &"invalid_token".into()));
    let (status, ended) = with_token("curl -X DELETE -H 'Authorization: Bearer TOKEN'");
    assert_eq!((status, &ended["code"]), (401, &"invalid_token".into()));
    assert_eq!(commands.len(), 9, "{commands:#?}");
}
