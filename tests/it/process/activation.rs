//! Socket activation: the sockets belong to a parent, as systemd's do, and live on while the service restarts.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Method;

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::wait::eventually;

/// Passes two listening sockets as descriptors 3 and 4, as systemd does.
const PASS: &str = r#"exec 3<&0 4<&1 0</dev/null 1>/dev/null
export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=wxlogin.socket:wxlogin.socket
exec "$0" "$@""#;

fn copy(listener: &TcpListener) -> Stdio {
    OwnedFd::from(listener.try_clone().unwrap()).into()
}

pub fn start(wechat: &FakeWechat, dir: &std::path::Path, sockets: &[TcpListener; 2]) -> Process {
    let settings = [
        ("SESSION_STORE", "file:s.sessions"),
        ("INTERNAL_TOKEN", "0123456789abcdef"),
    ];
    let mut command = Command::new("sh");
    command
        .args(["-c", PASS, env!("CARGO_BIN_EXE_wxlogin")])
        .current_dir(dir)
        .env_clear()
        .envs(vars(&wechat.base(), &settings))
        .stdin(copy(&sockets[0]))
        .stdout(copy(&sockets[1]));
    Process::of(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_refuse_nothing() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [public, internal] = [&sockets[0], &sockets[1]].map(|it| it.local_addr().unwrap());
    let mut process = start(&wechat, dir.path(), &sockets);
    assert_eq!(process.client.addr, public);
    let log = process.log();
    assert!(log.contains(&format!("internal_addr={internal}")), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    Client::new(internal)
        .get("/metrics")
        .await
        .assert_status(200);

    let (stop, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let phones: Vec<_> = (0..16)
        .map(|phone| {
            let (stop, answers) = (stop.clone(), answers.clone());
            tokio::spawn(async move {
                let client = Client::new(public);
                let mut login = 0;
                while !stop.load(Ordering::Relaxed) {
                    login += 1;
                    let path = format!("/onLogin?code=user-{phone}.{login}");
                    // With a connection of its own, as a new phone has.
                    let headers = [("connection", "close")];
                    let answer = client.try_send(Method::GET, &path, &headers).await;
                    let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}"));
                    answer.assert_status(200);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = answers.load(Ordering::Relaxed);
        eventually("fifty answers", async || {
            answers.load(Ordering::Relaxed) >= before + 50
        })
        .await;
        process.signal("TERM");
        let (status, log) = tokio::task::spawn_blocking(|| process.wait())
            .await
            .unwrap();
        assert_eq!(status, Some(0), "{log}");
        process = start(&wechat, dir.path(), &sockets);
    }
    stop.store(true, Ordering::Relaxed);
    for phone in phones {
        phone.await.unwrap();
    }
}

#[tokio::test]
async fn a_descriptor_that_is_no_listening_socket_is_told() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", PASS, env!("CARGO_BIN_EXE_wxlogin")])
        .current_dir(dir.path())
        .env_clear()
        .envs(vars(&wechat.base(), &[]))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("socket 1 of LISTEN_FDS cannot be used"),
        "{said}"
    );
}

#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", PASS, env!("CARGO_BIN_EXE_wxlogin")])
        .current_dir(dir.path())
        .env_clear()
        .envs(vars("http://127.0.0.1:9", &[]))
        .stdin(OwnedFd::from(connection))
        .stdout(copy(&listener));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let told = "socket 1 of LISTEN_FDS cannot be used: it does not listen";
    assert!(said.contains(told), "{said}");
}
