//! Slow, idle and misbehaving clients.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wxlogin::server::Timeouts;

use crate::fake_wechat::FakeWechat;
use crate::support::app::{TIMEOUTS, TestApp, vars};
use crate::support::process::Process;

const IMPATIENT: Timeouts = Timeouts {
    head: Duration::from_millis(300),
    ..TIMEOUTS
};

#[tokio::test]
async fn a_client_that_does_not_finish_its_headers_is_cut_off() {
    let app = TestApp::setup().timeouts(IMPATIENT).start().await;
    for begin in ["", "GET /healthz HTTP/1.1\r\nhost:"] {
        let since = Instant::now();
        let mut slow = TcpStream::connect(app.client.addr).await.unwrap();
        slow.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let cut = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest));
        // An error is fine too: the service may reset the connection.
        let _ = cut.await.expect("the service holds on to a silent client");
        assert!(since.elapsed() >= IMPATIENT.head);
    }
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_cut_off() {
    let app = TestApp::setup().timeouts(IMPATIENT).start().await;
    let mut deaf = TcpStream::connect(app.client.addr).await.unwrap();
    // The service reads requests while it can write responses. When it cannot, it must close the connection.
    let asking = async {
        let requests = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        while deaf.write_all(requests.as_bytes()).await.is_ok() {}
    };
    let cut = tokio::time::timeout(Duration::from_secs(15), asking);
    cut.await
        .expect("the service waits for a client that never reads");
}

#[tokio::test]
async fn idle_connections_do_not_stop_logins() {
    let app = TestApp::start().await;
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        idle.push(TcpStream::connect(app.client.addr).await.unwrap());
    }
    app.client.login("user-alice").await.assert_status(200);
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    // A process, which has long timeouts: the size limit ends this, not the time.
    let process = Process::start(dir.path(), &vars(&wechat.base(), &[]));
    let mut rude = TcpStream::connect(process.client.addr).await.unwrap();
    rude.write_all(b"GET /healthz HTTP/1.1\r\nx: ")
        .await
        .unwrap();
    let endless = async { while rude.write_all(&[b'x'; 4096]).await.is_ok() {} };
    let cut = tokio::time::timeout(Duration::from_secs(15), endless);
    cut.await.expect("headers without end are taken");
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

#[tokio::test]
async fn an_idle_connection_lives_as_long_as_the_head_of_a_request_may_take() {
    assert_eq!(Timeouts::default().head, Duration::from_secs(75));
    let app = TestApp::setup().timeouts(IMPATIENT).start().await;
    let mut idle = TcpStream::connect(app.client.addr).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = vec![0; 4096];
    // Each request restarts the timeout.
    for _ in 0..3 {
        tokio::time::sleep(IMPATIENT.head / 2).await;
        idle.write_all(request).await.unwrap();
        let length = idle.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
    }
    let since = Instant::now();
    let cut = tokio::time::timeout(Duration::from_secs(10), idle.read(&mut answer));
    assert_eq!(cut.await.unwrap().unwrap(), 0);
    assert!(since.elapsed() >= IMPATIENT.head * 9 / 10);
}
