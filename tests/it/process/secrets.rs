//! A secret in the wrong place: no problem and no warning of any setting shows it.

use std::collections::BTreeMap;
use std::fs;

use wxlogin::config::{self, ServerConfig};

use crate::support::app::vars;
use crate::support::process::command;

/// Variables that are read and are not settings of wxlogin alone.
const OTHERS: [&str; 11] = [
    "METRICS_ADDR",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Passwords in URLs, lines that a quote has swallowed, and tokens of 16 characters and more.
const VALUES: [&str; 16] = [
    "127.0.0.1:13000\nINTERNAL_TOKEN=c4nary\nLOG_FORMAT=json",
    "x\nc4nary",
    "LOG_FORMAT=json INTERNAL_TOKEN=c4nary",
    "redis://:c4nary@redis:6379",
    "/redis://:c4nary@redis:6379",
    "http://user:c4nary@proxy:3128",
    "socks5://user:c4nary@proxy",
    "file:redis://:c4nary@redis",
    "user:c4nary@host",
    "c4nary0123456789abcdef0123456789",
    "c4nary-token-0123",
    "c4nary-token-01/x",
    "c4nary.token.0123",
    "A+c4naryc4nary/x+base64/0123456==",
    "/A+c4naryc4nary/x+base64/0123456",
    "wx-c4nary-token-012",
];

/// What is said of this value.
fn said(name: &str, value: &str) -> String {
    let mut settings = vars("https://wechat.example,http://relay.example", &[]);
    if name.starts_with("WECHAT_SECRET") || name.starts_with("WECHAT_APPS") {
        settings.remove("WECHAT_SECRET");
    }
    if name.starts_with("WECHAT_APPS") {
        settings.remove("WECHAT_APPID");
    }
    settings.insert(name.into(), value.into());
    let read = ServerConfig::from_vars(&settings);
    read.map_or_else(
        |problems| problems.to_string(),
        |config| config.service.warnings.join("\n"),
    )
}

#[test]
fn a_secret_in_the_place_of_any_setting_is_in_no_problem_and_no_warning() {
    let names = config::names();
    for name in names.iter().chain(&OTHERS) {
        for value in VALUES {
            let said = said(name, value);
            assert!(!said.contains("c4nary"), "{name}={value}: {said}");
        }
    }
}

#[test]
fn a_value_that_can_be_no_secret_is_quoted() {
    for (name, value) in [
        ("LISTEN_ADDR", "localhost:3000"),
        ("SESSION_TTL", "7 days and"),
        ("WECHAT_APPID", "wx0123456789abcde;"),
        ("WECHAT_APPS_FILE", "/run/secrets/wechat-apps.of-production"),
        ("WECHAT_SECRET_FILE", "./secrets/wechat"),
        ("INTERNAL_WECHAT_PATHS", "/wxa/msg_sec_check,/cgi-bin/token"),
        ("RUST_LOG", "warning"),
    ] {
        let said = said(name, value);
        assert!(said.contains(&format!("; it is {value:?}")), "{said}");
    }
}

#[test]
fn a_quote_that_a_later_line_closes_shows_none_of_the_lines() {
    for word in [None, Some("check"), Some("healthcheck")] {
        for name in ["LISTEN_ADDR", "SESSION_STORE", "RUST_LOG", "SESSION_TTL"] {
            let dir = tempfile::tempdir().unwrap();
            let lines = [
                "WECHAT_APPID=wx0123456789abcdef",
                "WECHAT_SECRET=0123456789abcdef0123456789abcdef",
                &format!("{name}=\"file:127.0.0.1:13000"),
                "INTERNAL_TOKEN=my-token",
                "SESSION_STORE=redis://:hunter2@redis:6379",
                "LOG_FORMAT=json\"",
            ];
            fs::write(dir.path().join(".env"), lines.join("\n")).unwrap();
            let mut command = command(dir.path(), &BTreeMap::new());
            let output = command.env_remove("LISTEN_ADDR").args(word).output();
            let output = output.unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains(&format!("{name} must ")), "{said}");
            assert!(said.contains("(.env, line 3)"), "{said}");
            for secret in ["my-token", "hunter2", "INTERNAL_TOKEN"] {
                assert!(!said.contains(secret), "{said}");
            }
        }
    }
}
