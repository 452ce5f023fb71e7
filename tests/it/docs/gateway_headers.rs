//! What headers of a client do to nginx and Caddy, and to a backend behind them.

use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use crate::support::app::TestApp;
use crate::support::gateways::{example, replace};
use crate::support::running_gateway::{Gateway, Kind};

/// All headers that the backend gets of a request with these.
async fn at_backend(gateway: &Gateway, token: &str, headers: &[(&str, &str)]) -> Value {
    let mut request = gateway.request(Method::GET, "/api/socket");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{headers:?}");
    serde_json::from_str(answer.headers()["x-all"].to_str().unwrap()).unwrap()
}

/// RFC 6455 §4.2.1 compares without case.
#[tokio::test]
async fn a_websocket_is_upgraded_in_any_spelling_and_no_other_protocol_is() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let token = gateway.token("user-alice").await;
        for (upgrade, passed) in [
            ("websocket", true),
            ("WebSocket", true),
            ("WEBSOCKET", true),
            ("h2c", false),
            ("not-websocket", false),
        ] {
            let headers = [("Upgrade", upgrade), ("Connection", "Upgrade")];
            let all = at_backend(&gateway, &token, &headers).await;
            let connection = all["connection"].as_str().unwrap_or_default();
            let is_upgrade = connection.eq_ignore_ascii_case("upgrade");
            assert_eq!(is_upgrade, passed, "{kind:?} {upgrade} {all}");
        }
    }
}

#[tokio::test]
async fn a_client_cannot_tell_a_backend_another_address() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let token = gateway.token("user-alice").await;
        let forged = "203.0.113.9";
        let headers = [
            ("Forwarded", "for=203.0.113.9"),
            ("X-Forwarded-For", forged),
            ("X-Real-IP", forged),
            ("X_Real_IP", forged),
        ];
        let all = at_backend(&gateway, &token, &headers).await;
        for name in ["forwarded", "x-forwarded-for", "x-real-ip"] {
            let value = all[name].as_str().unwrap_or_default();
            assert!(!value.contains(forged), "{kind:?} {name} in {all}");
        }
    }
}

/// wxlogin takes 100 headers, and no control characters. What nginx asks it for a request has neither.
#[tokio::test]
async fn no_header_makes_nginx_take_a_bad_request_for_an_outage() {
    let gateway = Kind::Nginx.start(TestApp::start().await).await;
    let token = gateway.token("user-alice").await;
    let mut request = gateway.request(Method::GET, "/api/things");
    for number in 0..120 {
        request = request.header(format!("X-Header-{number}"), "value");
    }
    let answer = request.bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let request = "GET /api/ HTTP/1.1\r\nHost: login.example.com\r\nConnection: close\r\n\
        Authorization: Bearer \u{1}\r\n\r\n";
    let answer = gateway.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains(r#""code":"invalid_token""#), "{answer}");
}

/// The lines for a balancer, which is on this machine.
fn nginx_behind_a_balancer(conf: &str) -> String {
    let conf = replace(
        conf,
        "# set_real_ip_from 100.64.0.0/10",
        "set_real_ip_from 127.0.0.0/8",
    );
    let conf = replace(&conf, "# real_ip_header X-F", "real_ip_header X-F");
    replace(&conf, "# real_ip_recursive", "real_ip_recursive")
}

/// The same. The global options, of which there is one block only, are those of the tests.
fn caddy_behind_a_balancer(conf: &str) -> String {
    let example = example("Caddyfile");
    let lines = example.lines().filter_map(|line| line.strip_prefix("# \t"));
    let options = lines.collect::<Vec<_>>().join("\n");
    let options = replace(&options, "100.64.0.0/10", "127.0.0.0/8");
    let conf = conf.replacen("\tadmin off\n", &format!("\tadmin off\n{options}\n"), 1);
    replace(&conf, "X-Real-IP {remote_host}", "X-Real-IP {client_ip}")
}

/// The lines need Caddy 2.8.
fn caddy_is_new_enough() -> bool {
    let output = Command::new("caddy").arg("version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut number = || numbers.next().unwrap().parse::<u32>().unwrap();
    (number(), number()) >= (2, 8)
}

#[tokio::test]
async fn behind_a_balancer_a_backend_gets_the_address_that_the_balancer_saw() {
    let mut gateways = vec![
        Kind::Nginx
            .start_edited(TestApp::start().await, nginx_behind_a_balancer)
            .await,
    ];
    if caddy_is_new_enough() {
        let app = TestApp::start().await;
        gateways.push(Kind::Caddy.start_edited(app, caddy_behind_a_balancer).await);
    }
    for gateway in gateways {
        let token = gateway.token("user-alice").await;
        let headers = [("X-Forwarded-For", "203.0.113.9, 198.51.100.7")];
        let all = at_backend(&gateway, &token, &headers).await;
        assert_eq!(all["x-real-ip"], "198.51.100.7", "{all}");
    }
}
