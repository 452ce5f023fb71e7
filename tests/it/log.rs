//! The log: says what the operator needs.

use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;

use crate::app::vars;
use crate::fake_wechat::FakeWechat;
use crate::process::Process;

#[tokio::test]
async fn a_json_log_is_one_object_a_line_with_the_request_id() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(
        dir.path(),
        &vars(
            &wechat.base(),
            &[
                ("LOG_FORMAT", "json"),
                ("RUST_LOG", "info,wxlogin::api=warn"),
            ],
        ),
    );
    let headers = [("x-request-id", "trace-me")];
    process
        .client
        .send(Method::GET, "/onLogin?code=error-40013", &headers)
        .await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(refused.len(), 1, "{log}");
    assert_eq!(refused[0]["errcode"], 40013);
    assert!(
        refused[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("WECHAT_APPID")
    );
    assert_eq!(refused[0]["span"]["id"], "trace-me");
    assert_eq!(refused[0]["span"]["route"], "/onLogin");
}

#[tokio::test]
async fn what_clients_do_wrong_does_not_fill_the_log() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &vars(&wechat.base(), &[]));
    for path in [
        "/onLogin",
        "/nowhere",
        "/session",
        "/onLogin?code=error-40029",
    ] {
        process.client.get(path).await;
    }
    drop(TcpStream::connect(process.client.addr).unwrap());
    tokio::time::timeout(Duration::from_secs(5), process.client.get("/healthz"))
        .await
        .unwrap();
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(log.lines().count(), 2, "{log}"); // listening, stopping
}
