//! A stop: requests in flight are answered, and the process ends in time, whatever hangs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::client::{Answer, Client};
use crate::support::disk::Disk;
use crate::support::process::Process;
use crate::support::wait::asked_for;
use crate::support::wait::eventually;

/// The documentation promises ten seconds.
const LIMIT: Duration = Duration::from_secs(10);

/// A service with its sessions on a disk.
async fn start(settings: &[(&str, &str)]) -> (FakeWechat, Disk, Process) {
    let (wechat, disk) = (FakeWechat::start().await, Disk::new());
    let mut all = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let settings = settings
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    all.extend(settings.collect::<BTreeMap<_, _>>());
    let process = disk.start(&all);
    (wechat, disk, process)
}

/// Stops it with these requests in flight: their answers decide the exit status.
async fn stop(what: &str, mut process: Process, in_flight: Vec<JoinHandle<bool>>) {
    process.signal("TERM");
    let begin = Instant::now();
    let status = process.exit_within(LIMIT).await;
    let took = begin.elapsed();
    assert!(took < LIMIT, "{what}: still running after {took:?}");
    let mut unanswered = 0;
    for request in in_flight {
        unanswered += i32::from(!request.await.unwrap());
    }
    let (_, log) = process.wait();
    assert_eq!(
        status,
        Some(unanswered.min(1)),
        "{what}, {unanswered} unanswered: {log}"
    );
}

/// Sends a request; returns whether there was a response.
fn is_answered(
    answer: impl Future<Output = reqwest::Result<Answer>> + Send + 'static,
) -> JoinHandle<bool> {
    tokio::spawn(async move { answer.await.is_ok() })
}

fn login(client: &Client, code: &str) -> JoinHandle<bool> {
    let (client, path) = (client.clone(), format!("/onLogin?code={code}"));
    is_answered(async move { client.try_send(reqwest::Method::GET, &path, &[]).await })
}

fn lookup(client: &Client, token: &str) -> JoinHandle<bool> {
    let (client, bearer) = (client.clone(), format!("Bearer {token}"));
    is_answered(async move {
        let headers = [("authorization", &*bearer)];
        client
            .try_send(reqwest::Method::GET, "/session", &headers)
            .await
    })
}

async fn with_a_hanging_write(kind: &str) {
    let (_wechat, disk, process) = start(&[]).await;
    process.client.login("user-alice").await.assert_status(200);
    disk.fault(kind, "hang");
    let in_flight = vec![login(&process.client, "user-bob")];
    disk.await_hits(0).await;
    stop(kind, process, in_flight).await;
}

async fn with_a_hanging_read() {
    let (_wechat, disk, process) = start(&[]).await;
    let mut tokens = Vec::new();
    for user in 0..20 {
        tokens.push(process.client.token(&format!("user-{user}")).await);
    }
    disk.fault("read", "hang");
    let lookups = tokens.iter().map(|token| lookup(&process.client, token));
    let lookups = lookups.collect();
    disk.await_hits(0).await;
    stop("read", process, lookups).await;
}

async fn with_a_silent_resolver() {
    let base = [("WECHAT_API_BASE", "https://api.weixin.qq.com")];
    let (_wechat, disk, process) = start(&base).await;
    disk.fault("resolve", "hang");
    let in_flight = vec![login(&process.client, "user-alice")];
    disk.await_hits(0).await;
    stop("resolver", process, in_flight).await;
}

async fn with_a_stuck_login() {
    let (wechat, _disk, process) = start(&[("WECHAT_TIMEOUT", "60s")]).await;
    let in_flight = vec![login(&process.client, "hang")];
    asked_for(&wechat, "hang").await;
    stop("stuck login", process, in_flight).await;
}

/// Stops it while it starts, with one disk call of this kind hanging, each of them in turn.
async fn while_it_starts(kind: &str, is_new: bool) {
    let wechat = FakeWechat::start().await;
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    for nth in 0.. {
        let disk = Disk::new();
        if !is_new {
            let process = disk.start(&settings);
            process.client.token(&format!("user-alice.{nth}")).await;
            process.signal("KILL");
            process.wait();
        }
        // Not the settings, which are read before signals are handled.
        disk.fault_once(kind, "hang", nth + u16::from(kind == "open"));
        let mut child = disk.command(&settings).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let is_listening = tokio::task::spawn_blocking(move || {
            log.any(|line| line.is_ok_and(|line| line.contains("listening addr=")))
        });
        let is_hanging = tokio::select! {
            () = disk.await_hits(0) => true,
            _ = is_listening => false,
        };
        let kill = format!("kill -s TERM {}", child.id());
        Command::new("sh").args(["-c", &kill]).status().unwrap();
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > LIMIT {
                child.kill().unwrap();
                panic!("{kind} {nth}: still running after {LIMIT:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(status.code(), Some(0), "{kind} {nth}");
        if !is_hanging {
            return assert!(nth > 0, "{kind}: nothing hung");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_store_is_opened_on_a_hanging_disk_ends_by_the_clock() {
    tokio::join!(
        while_it_starts("open", true),
        while_it_starts("sync", true),
        while_it_starts("write", true),
        while_it_starts("read", false),
    );
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_up_no_stop() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let (_wechat, _disk, process) = start(&[("SESSION_STORE", &url)]).await;
    let begin = Instant::now();
    stop("a silent Redis", process, Vec::new()).await;
    assert!(begin.elapsed() < Duration::from_secs(3));
}

async fn with_half_a_request() {
    let (_wechat, _disk, process) = start(&[]).await;
    let mut half = TcpStream::connect(process.client.addr).await.unwrap();
    half.write_all(b"GET /onLogin?co").await.unwrap();
    process.client.get("/healthz").await.assert_status(200);
    stop("half a request", process, Vec::new()).await;
}

async fn with_a_client_that_never_reads() {
    let (_wechat, _disk, mut process) = start(&[]).await;
    let mut deaf = TcpStream::connect(process.client.addr).await.unwrap();
    let requests = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    // Until the socket buffer is full, so that the service reads no more requests.
    let pause = Duration::from_millis(300);
    while let Ok(taken) = tokio::time::timeout(pause, deaf.write_all(requests.as_bytes())).await {
        taken.unwrap();
    }
    process.signal("TERM");
    let status = process.exit_within(LIMIT).await;
    // A response that was sent and not read counts as answered.
    assert!(
        matches!(status, Some(0 | 1)),
        "{status:?}: {}",
        process.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_ten_seconds_at_most_whatever_hangs() {
    tokio::join!(
        with_a_hanging_write("write"),
        with_a_hanging_write("sync"),
        with_a_hanging_read(),
        with_a_silent_resolver(),
        with_a_stuck_login(),
        with_half_a_request(),
        with_a_client_that_never_reads(),
    );
}

#[tokio::test]
async fn sigusr1_and_sigusr2_are_ignored() {
    let (wechat, _disk, process) = start(&[]).await;
    let in_flight = login(&process.client, "slow-500");
    asked_for(&wechat, "slow-500").await;
    process.signal("USR1");
    process.signal("USR2");
    assert!(in_flight.await.unwrap());
    process.client.login("user-alice").await.assert_status(200);
    stop("after ignored signals", process, Vec::new()).await;
}

#[tokio::test]
async fn a_request_on_an_open_connection_is_answered_after_the_signal_and_told_to_close() {
    let (_wechat, _disk, process) = start(&[]).await;
    let addr = process.client.addr;
    let request = b"GET /onLogin?code=user-alice HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut used = TcpStream::connect(addr).await.unwrap();
    used.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 1024];
    let length = used.read(&mut answer).await.unwrap();
    assert!(
        answer[..length].starts_with(b"HTTP/1.1 200")
            && answer[..length].ends_with(
                b"ok
"
            )
    );
    let mut unused = TcpStream::connect(addr).await.unwrap();
    let mut slow = TcpStream::connect(addr).await.unwrap();
    // So that the service has accepted the connections.
    process.client.get("/healthz").await.assert_status(200);
    process.signal("TERM");
    let has_begun = async || {
        let answer = process.client.get("/healthz").await;
        answer.assert_status(200).header("connection") == Some("close")
    };
    eventually("the stop has begun", async || has_begun().await).await;
    // Half of the second for which connections are accepted and kept open goes by.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let answered = async |connection: &mut TcpStream| {
        connection.write_all(request).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let answer = answer.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200"), "{answer:?}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
    };
    answered(&mut used).await;
    answered(&mut unused).await;
    // As a proxy on a busy machine, which connects some time before it sends.
    eventually("no connection is accepted", async || {
        TcpStream::connect(addr).await.is_err()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    answered(&mut slow).await;
    let begin = Instant::now();
    stop("after lingering", process, Vec::new()).await;
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let (wechat, _disk, process) = start(&[]).await;
    for path in [
        "/healthz",
        "/onLogin?code=user-alice",
        "/onLogin?code=slow-500",
    ] {
        let mut half_closed = TcpStream::connect(process.client.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        half_closed.write_all(request.as_bytes()).await.unwrap();
        half_closed.shutdown().await.unwrap();
        let mut answer = String::new();
        half_closed.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:?}");
    }
    // Also while it stops.
    let mut half_closed = TcpStream::connect(process.client.addr).await.unwrap();
    let request = b"GET /onLogin?code=slow-1000 HTTP/1.1\r\nhost: x\r\n\r\n";
    half_closed.write_all(request).await.unwrap();
    half_closed.shutdown().await.unwrap();
    let answered = tokio::spawn(async move {
        let mut answer = String::new();
        let read = half_closed.read_to_string(&mut answer).await;
        read.is_ok() && answer.starts_with("HTTP/1.1 200")
    });
    asked_for(&wechat, "slow-1000").await;
    stop("a half-closed connection", process, vec![answered]).await;
}
