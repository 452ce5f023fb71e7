//! How the sandbox starts, and what it prints: every line works as it stands.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fake_wechat::{APPID, SECRET};
use crate::support::process::kill;
use crate::support::sandbox_process::{Sandbox, binary, command, ended_in_time};

/// The most lines of the output: fewer than a usual terminal has, for lines about ports that are taken.
const MAX_LINES: usize = 24;
const MAX_COLUMNS: usize = 100;

/// Runs a `curl` command; returns the status and the answer.
fn run(command: &str) -> (u16, Value) {
    // The last one of a pipe.
    let (before, last) = command.rsplit_once("curl ").unwrap();
    let command = format!("{before}curl --silent --write-out '\n%{{http_code}}' {last}");
    let output = Command::new("sh")
        .args(["-c", &command])
        .env("no_proxy", "*")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (
        status.parse().unwrap(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// The columns that a terminal needs: two for a Chinese character.
fn columns(line: &str) -> usize {
    let width = |c: char| if u32::from(c) < 0x2000 { 1 } else { 2 };
    line.chars().map(width).sum()
}

/// Runs one that must not start; returns the status and the output.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = ended_in_time(&mut child);
    let _ = child.kill();
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    (status, said)
}

#[test]
fn what_it_prints_fits_one_screen_in_both_languages() {
    let sandbox = Sandbox::start();
    let printed = &sandbox.printed;
    assert!(printed.lines().count() <= MAX_LINES, "{printed}");
    for line in printed.lines() {
        assert!(
            columns(line) <= MAX_COLUMNS,
            "{} columns: {line}",
            columns(line)
        );
    }
    let curl = printed
        .lines()
        .find(|line| line.trim().starts_with("curl "));
    let (status, login) = run(curl.unwrap());
    assert_eq!(status, 200, "{login}");
    assert!(login["token"].as_str().unwrap().starts_with("wxs_"));
    assert_eq!(sandbox.value("WECHAT_APPID"), APPID);
    assert_eq!(sandbox.value("WECHAT_SECRET"), SECRET);
    let page = format!("http://{}", sandbox.page().addr);
    assert_eq!(sandbox.value("WECHAT_API_BASE"), page);
}

#[tokio::test]
async fn every_curl_line_on_the_page_works_as_it_stands() {
    let sandbox = Sandbox::start();
    let page = sandbox.page().get("/").await.text;
    let commands: Vec<_> = page
        .split("<pre>")
        .filter(|text| text.starts_with("curl "))
        .map(|text| text.split("</pre>").next().unwrap())
        .map(|text| text.replace("&#39;", "'").replace("&quot;", "\""))
        .collect();
    let of = |part: &str| {
        let mut found = commands.iter().filter(|command| command.contains(part));
        let command = found.next();
        command
            .unwrap_or_else(|| panic!("{part} in {commands:#?}"))
            .clone()
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
    assert_eq!((status, &number["countryCode"]), (200, &"86".into()));
    let (status, signed) = run(&of("/sign"));
    let signature = signed["signature"].as_str().unwrap();
    assert_eq!((status, signature.len()), (200, 64));
    let valid = serde_json::json!({"valid": true});
    assert_eq!(run(&of("/session_key")), (200, valid));
    let (status, access_token) = run(&of("/access_token/"));
    assert_eq!((status, &access_token["expires_in"]), (200, &7200.into()));
    let (status, _) = run(&of("/sessions"));
    assert_eq!(status, 204);
    for part in [
        "/session",
        "curl -X DELETE -H 'Authorization: Bearer TOKEN'",
    ] {
        let (status, ended) = with_token(part);
        assert_eq!((status, &ended["code"]), (401, &"invalid_token".into()));
    }
    assert_eq!(commands.len(), 9, "{commands:#?}");
}

#[test]
fn a_default_port_that_is_taken_is_replaced_and_that_is_said() {
    // If this fails, another process has taken the port.
    let _taken = TcpListener::bind("127.0.0.1:3000");
    let mut command = command(&[]);
    let sandbox = Sandbox::of(command.env_remove("LISTEN_ADDR"));
    let port = sandbox.public().addr.port();
    assert!(port > 3000, "{}", sandbox.printed);
    for said in [
        format!("Port 3000 is taken: {port} instead."),
        format!("端口 3000 已被占用，改用 {port}。"),
    ] {
        assert!(sandbox.printed.contains(&said), "{}", sandbox.printed);
    }
    assert!(TcpStream::connect(sandbox.public().addr).is_ok());
}

#[test]
fn an_address_that_is_set_is_used_or_the_start_fails_with_status_1() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    for name in ["LISTEN_ADDR", "PAGE_ADDR", "INTERNAL_ADDR"] {
        let (status, said) = ended(command(&[]).env(name, &addr));
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(&format!("cannot listen on {addr}")), "{said}");
    }
    drop(free);
    let sandbox = Sandbox::of(command(&[]).env("LISTEN_ADDR", &addr));
    assert_eq!(sandbox.public().addr.to_string(), addr);
}

#[test]
fn wrong_arguments_and_addresses_are_refused_with_status_2() {
    for arguments in [&["--wan"] as &[&str], &["--lan", "--container"]] {
        let (status, said) = ended(&mut command(arguments));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("--lan"), "{said}");
    }
    let (status, said) = ended(command(&[]).env("LISTEN_ADDR", "localhost"));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("LISTEN_ADDR"), "{said}");
}

#[test]
fn help_names_every_option_and_variable_in_both_languages() {
    let output = Command::new(binary()).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for word in [
        "--lan",
        "--container",
        "LISTEN_ADDR",
        "PAGE_ADDR",
        "INTERNAL_ADDR",
        "3000",
        "手机",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

/// Which of the three can be reached at an address of the loopback that is not 127.0.0.1, and so from other
/// machines too.
fn open(sandbox: &Sandbox) -> [bool; 3] {
    [sandbox.public(), sandbox.page(), sandbox.internal()]
        .map(|client| TcpStream::connect(("127.0.0.2", client.addr.port())).is_ok())
}

#[test]
fn lan_opens_the_public_listener_alone_and_warns() {
    assert_eq!(open(&Sandbox::start()), [false, false, false]);
    let sandbox = Sandbox::of(&mut command(&["--lan"]));
    assert_eq!(open(&sandbox), [true, false, false]);
    let printed = &sandbox.printed;
    assert!(printed.contains("Everybody in this network can log in here."));
    assert!(printed.contains("同一网络中的任何人都能在此登录。"));
    let url = sandbox.value("Phones 手机 (base.develop)");
    let port = sandbox.public().addr.port();
    assert!(url.ends_with(&format!(":{port}")), "{printed}");
    assert!(
        !url.contains("127.0.0.1") && !url.contains("0.0.0.0"),
        "{printed}"
    );
    // LISTEN_ADDR without the option gives the warning too.
    let by_hand = Sandbox::of(command(&[]).env("LISTEN_ADDR", "0.0.0.0:0"));
    assert_eq!(open(&by_hand), [true, false, false]);
    assert!(
        by_hand
            .printed
            .contains("Everybody in this network can log in here.")
    );
}

#[test]
fn container_opens_everything_and_a_signal_ends_it() {
    let mut sandbox = Sandbox::of(&mut command(&["--container"]));
    assert_eq!(open(&sandbox), [true, true, true]);
    assert!(
        sandbox
            .printed
            .contains("Whoever reaches this container can use all three.")
    );
    kill("TERM", sandbox.id());
    assert_eq!(sandbox.status(), Some(0));
}
