//! Slow, idle and rude clients.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{PATIENCE, TestApp};

#[tokio::test]
async fn a_client_that_does_not_finish_its_headers_is_cut_off() {
    let app = TestApp::start().await;
    for begin in ["", "GET /healthz HTTP/1.1\r\nhost:"] {
        let mut slow = TcpStream::connect(app.client.addr).await.unwrap();
        slow.write_all(begin.as_bytes()).await.unwrap();
        let since = Instant::now();
        let mut rest = Vec::new();
        let cut = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest));
        // An error is fine too: the service may reset the connection.
        let _ = cut.await.expect("the service holds on to a silent client");
        assert!(since.elapsed() >= PATIENCE.headers);
    }
}

#[tokio::test]
async fn idle_connections_do_not_stop_logins() {
    let app = TestApp::start().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(app.client.addr).await.unwrap());
    }
    app.client.login("user-alice").await.assert_status(200);
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let app = TestApp::start().await;
    let mut rude = TcpStream::connect(app.client.addr).await.unwrap();
    let mut sent = b"GET /healthz HTTP/1.1\r\nx: ".to_vec();
    sent.resize(40_000, b'x');
    // The service may close while this is being written.
    let _ = rude.write_all(&sent).await;
    let mut answer = Vec::new();
    let _ = rude.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn requests_in_one_connection_are_answered_in_order() {
    let app = TestApp::start().await;
    let mut stream = TcpStream::connect(app.client.addr).await.unwrap();
    let pipelined = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let statuses: Vec<_> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answer[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "404"], "{answer}");
}
