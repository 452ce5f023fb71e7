//! Restarts under load lose no request, and behind nginx each answer is the service's or a document.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::activation;
use crate::fake_wechat::{FakeWechat, session_key, sign};
use crate::support::app::vars;
use crate::support::gateways::{self, HOST, replace};
use crate::support::ports::free_port;
use crate::support::process::Process;
use crate::support::redis_server::RedisServer;

/// nginx with the documented configuration in front of two replicas, without its limit of logins.
struct Nginx {
    server: Child,
    client: reqwest::Client,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Nginx {
    async fn start(replicas: &[u16]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let certificate = gateways::write_certificate(dir.path());
        let mut command = gateways::nginx(dir.path(), port);
        let file = dir.path().join("nginx.conf");
        let conf = fs::read_to_string(&file).unwrap();
        let documented = "server 127.0.0.1:3000 max_fails=0;";
        let servers = replicas.iter();
        let servers = servers.map(|port| documented.replace("3000", &port.to_string()));
        let servers: Vec<_> = servers.collect();
        let conf = replace(&conf, documented, &servers.join(" "));
        let conf = replace(&conf, "rate=10r/s", "rate=1000000r/s");
        let conf = replace(&conf, "burst=50", "burst=1000000");
        fs::write(file, conf).unwrap();
        let server = command.stdout(Stdio::null()).spawn();
        let server = server.expect("nginx: tests/run.sh installs it");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let client = gateways::client(certificate, port);
        Self {
            server,
            client,
            port,
            _dir: dir,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // nginx's worker ends with its master only if the master is asked to stop.
        let quit = format!("kill -TERM {}", self.server.id());
        let _ = Command::new("sh").args(["-c", &quit]).status();
        let _ = self.server.wait();
    }
}

/// A client that logs in, looks its session up, verifies data and logs out, repeatedly.
struct Phone {
    client: reqwest::Client,
    base: String,
    name: usize,
    answers: Arc<AtomicUsize>,
}

impl Phone {
    /// Until all clients together have had `goal` answers.
    async fn use_it(&self, goal: Arc<AtomicUsize>) {
        for visit in 0.. {
            if self.answers.load(Ordering::Relaxed) >= goal.load(Ordering::Relaxed) {
                break;
            }
            let code = format!("user-{}.{visit}", self.name);
            let login = format!("/onLogin?code={code}");
            let login = self.send(Method::GET, &login, "", String::new(), 200).await;
            let login: serde_json::Value = serde_json::from_str(&login).unwrap();
            let token = login["token"].as_str().unwrap();
            self.send(Method::GET, "/session", token, String::new(), 200)
                .await;
            let signature = sign(&session_key(&code), "{}");
            let body = serde_json::json!({"rawData": "{}", "signature": signature});
            let verify = "/session/verify";
            self.send(Method::POST, verify, token, body.to_string(), 204)
                .await;
            self.send(Method::DELETE, "/session", token, String::new(), 204)
                .await;
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: String,
        status: u16,
    ) -> String {
        let request = self
            .client
            .request(method.clone(), format!("{}{path}", self.base));
        let answer = request.bearer_auth(token).body(body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        assert_eq!(
            answer.status(),
            StatusCode::from_u16(status).unwrap(),
            "{method} {path}"
        );
        let text = answer.text().await.unwrap();
        self.answers.fetch_add(1, Ordering::Relaxed);
        text
    }
}

/// Waits until there are so many answers, or a client has failed.
async fn await_answers(answers: &AtomicUsize, goal: usize, clients: &mut JoinSet<()>) {
    while answers.load(Ordering::Relaxed) < goal && !clients.is_empty() {
        if let Some(ended) = clients.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn stop(mut process: Process) {
    process.signal("TERM");
    let status = process.exit_within(Duration::from_secs(11)).await;
    assert_eq!(status, Some(0), "{}", process.log());
}

/// Restarts two replicas in turn while `requests` are sent, `restarts` times.
async fn replicas_are_restarted(requests: usize, restarts: usize) {
    const PHONES: usize = 24;
    let (redis, wechat) = (RedisServer::start(), FakeWechat::start().await);
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let start = |port: u16| {
        let addr = format!("127.0.0.1:{port}");
        let settings = [("SESSION_STORE", &*redis.url()), ("LISTEN_ADDR", &addr)];
        Process::start(dir.path(), &vars(&wechat.base(), &settings))
    };
    let mut replicas = ports.map(|port| Some(start(port)));
    let nginx = Nginx::start(&ports).await;
    let answers = Arc::new(AtomicUsize::new(0));
    let goal = Arc::new(AtomicUsize::new(usize::MAX));
    let mut phones = JoinSet::new();
    for name in 0..PHONES {
        let phone = Phone {
            client: nginx.client.clone(),
            base: format!("https://{HOST}:{}", nginx.port),
            name,
            answers: answers.clone(),
        };
        let goal = goal.clone();
        phones.spawn(async move { phone.use_it(goal).await });
    }
    for restart in 0..restarts {
        let before = requests * (restart + 1) / (restarts + 2);
        await_answers(&answers, before, &mut phones).await;
        let replica = restart % 2;
        stop(replicas[replica].take().unwrap()).await;
        replicas[replica] = Some(start(ports[replica]));
    }
    // They have gone on until here.
    goal.store(requests, Ordering::Relaxed);
    while let Some(phone) = phones.join_next().await {
        phone.unwrap();
    }
    assert!(answers.load(Ordering::Relaxed) >= requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_loses_no_request() {
    replicas_are_restarted(2_000, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn ten_rolling_restarts_behind_nginx_lose_none_of_100000_requests() {
    replicas_are_restarted(100_000, 10).await;
}

/// A client that keeps its connection open and pauses for less time than a stop waits for it.
async fn pause_between_requests(port: u16, token: String, answers: Arc<AtomicUsize>, goal: usize) {
    let request =
        format!("GET /session HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    while answers.load(Ordering::Relaxed) < goal {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else {
            // The service is not running.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut is_first = true;
        while answers.load(Ordering::Relaxed) < goal {
            let sent = connection.write_all(request.as_bytes()).await;
            let mut answer = [0; 2048];
            let length = match sent {
                Ok(()) => connection.read(&mut answer).await.unwrap_or(0),
                Err(_) => 0,
            };
            if length == 0 && is_first {
                break; // accepted by the system and not by the service: counts as refused
            }
            let answer = String::from_utf8_lossy(&answer[..length]).to_ascii_lowercase();
            assert!(
                answer.starts_with("http/1.1 200") && answer.ends_with('}'),
                "lost: {answer:?}"
            );
            answers.fetch_add(1, Ordering::Relaxed);
            if answer.contains("\r\nconnection: close\r\n") {
                break;
            }
            is_first = false;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..500))).await;
        }
    }
}

async fn a_service_is_restarted(restarts: usize) {
    const CLIENTS: usize = 200;
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let addr = format!("127.0.0.1:{port}");
    let settings = [("SESSION_STORE", "file:s.sessions"), ("LISTEN_ADDR", &addr)];
    let settings = vars(&wechat.base(), &settings);
    let mut process = Process::start(dir.path(), &settings);
    let token = process.client.token("user-alice").await;
    let (answers, goal) = (Arc::new(AtomicUsize::new(0)), (restarts + 1) * 4 * CLIENTS);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (token, answers) = (token.clone(), answers.clone());
        clients.spawn(pause_between_requests(port, token, answers, goal));
    }
    for restart in 0..restarts {
        await_answers(&answers, (restart + 1) * 4 * CLIENTS, &mut clients).await;
        stop(process).await;
        process = Process::start(dir.path(), &settings);
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_no_request_of_clients_that_pause_on_open_connections() {
    a_service_is_restarted(1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn ten_restarts_lose_no_request_of_clients_that_pause_on_open_connections() {
    a_service_is_restarted(10).await;
}

/// A listening socket with the backlog that systemd's have.
fn socket() -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(4096).unwrap().into_std().unwrap()
}

/// Logs in, looks up and logs out until `stop`; returns the answers of the service, and those of nginx while there is
/// none, which are documents.
async fn use_it_until(stop: Arc<AtomicBool>, phone: Phone) -> [usize; 2] {
    let (mut counts, mut visit) = ([0; 2], 0);
    while !stop.load(Ordering::Relaxed) {
        visit += 1;
        let login = format!("/onLogin?code=user-{}.{visit}", phone.name);
        let mut token = String::new();
        for (method, path, good) in [
            (Method::GET, &*login, 200),
            (Method::GET, "/session", 200),
            (Method::DELETE, "/session", 204),
        ] {
            let url = format!("{}{path}", phone.base);
            let request = phone.client.request(method, url).bearer_auth(&token);
            let answer = request.send().await;
            let answer = answer.unwrap_or_else(|error| panic!("refused: {path}: {error:?}"));
            let (status, headers) = (answer.status(), answer.headers().clone());
            let text = answer.text().await.unwrap();
            phone.answers.fetch_add(1, Ordering::Relaxed);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            counts[usize::from(status != good)] += 1;
            if status != good {
                assert_eq!(
                    (status.as_u16(), &json["status"]),
                    (503, &503.into()),
                    "{text}"
                );
                assert_eq!(headers["content-type"], "application/problem+json");
                assert_eq!(json["action"], "retry_later", "{text}");
                assert!(headers.contains_key("retry-after"));
                break;
            }
            if let Some(new) = json["token"].as_str() {
                new.clone_into(&mut token);
            }
        }
    }
    counts
}

/// Restarts the service behind nginx while 200 clients use it, each with a connection of its own.
async fn is_restarted_behind_nginx(restarts: usize, is_activated: bool) {
    const CLIENTS: usize = 200;
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let sockets = [socket(), socket()];
    let port = if is_activated {
        sockets[0].local_addr().unwrap().port()
    } else {
        free_port()
    };
    let addr = format!("127.0.0.1:{port}");
    let settings = [("SESSION_STORE", "file:s.sessions"), ("LISTEN_ADDR", &addr)];
    let settings = vars(&wechat.base(), &settings);
    let start = || {
        if is_activated {
            activation::start(&wechat, dir.path(), &sockets)
        } else {
            Process::start(dir.path(), &settings)
        }
    };
    let mut process = start();
    let nginx = Nginx::start(&[port]).await;
    let (stopping, answers) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let mut clients = JoinSet::new();
    for name in 0..CLIENTS {
        let phone = Phone {
            client: nginx.client.clone(),
            base: format!("https://{HOST}:{}", nginx.port),
            name,
            answers: Arc::clone(&answers),
        };
        clients.spawn(use_it_until(stopping.clone(), phone));
    }
    for restart in 0..=restarts {
        let before = answers.load(Ordering::Relaxed);
        while answers.load(Ordering::Relaxed) < before + 4 * CLIENTS {
            assert!(clients.len() == CLIENTS, "clients have ended");
            if let Some(ended) = clients.try_join_next() {
                panic!("{ended:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if restart < restarts {
            stop(process).await;
            process = start();
        }
    }
    stopping.store(true, Ordering::Relaxed);
    let mut counts = [0; 2];
    while let Some(ended) = clients.join_next().await {
        let [good, unavailable] = ended.unwrap();
        counts = [counts[0] + good, counts[1] + unavailable];
    }
    println!("{restarts} restarts, activated: {is_activated}: {counts:?} good and 503 answers");
    assert!(counts[0] > restarts * CLIENTS, "{counts:?}");
    assert!(!is_activated || counts[1] == 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_behind_nginx_by_socket_activation_refuses_nothing() {
    is_restarted_behind_nginx(1, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_behind_nginx_answers_with_documents() {
    is_restarted_behind_nginx(1, false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn ten_restarts_behind_nginx_under_200_connections_refuse_nothing() {
    is_restarted_behind_nginx(10, true).await;
    is_restarted_behind_nginx(10, false).await;
}
