//! Signals: those that stop the service, those that do not, and those that were ignored before it began.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::process::Process;
use crate::support::wait::eventually;

/// A process that is started by a shell after `before`.
fn start_after(before: &str, wechat: &FakeWechat, dir: &std::path::Path) -> Process {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!(r#"{before}; exec "$0""#)])
        .arg(env!("CARGO_BIN_EXE_wxlogin"))
        .current_dir(dir)
        .env_clear()
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(vars(
            &wechat.base(),
            &[("SESSION_STORE", "file:s.sessions")],
        ));
    Process::of(&mut command)
}

#[tokio::test]
async fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut process = start_after("trap '' HUP INT QUIT", &wechat, dir.path());
    for name in ["HUP", "INT", "QUIT"] {
        process.signal(name);
    }
    process.client.get("/healthz").await.assert_status(200);
    assert!(!process.log().contains("SIGHUP"), "{}", process.log());
    process.signal("TERM");
    let status = process.exit_within(Duration::from_secs(10)).await;
    assert_eq!(status, Some(0), "{}", process.log());
    eventually("a line about SIGTERM", async || {
        process.log().contains("SIGTERM")
    })
    .await;
}

#[tokio::test]
async fn a_hangup_without_a_terminal_is_a_line_of_the_log() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = start_after(":", &wechat, dir.path());
    for _ in 0..2 {
        process.signal("HUP");
        eventually("a line about SIGHUP", async || {
            process.log().contains("SIGHUP changes nothing")
        })
        .await;
    }
    process.client.get("/healthz").await.assert_status(200);
}

#[tokio::test]
async fn a_hangup_of_the_terminal_stops_it() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // `script` gives it a terminal as standard error.
    let mut command = Command::new("script");
    command
        .args(["-qefc", concat!("exec ", env!("CARGO_BIN_EXE_wxlogin"))]) // not every shell does so by itself
        .arg(&log)
        .current_dir(dir.path())
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(vars(&wechat.base(), &[]));
    let mut script = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    eventually("it listens", async || said().contains("listening")).await;
    let kill = format!("pkill -HUP -P {}", script.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
    let ended = tokio::task::spawn_blocking(move || script.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{}", said());
    assert!(said().contains("SIGHUP"), "{}", said());
}

#[tokio::test]
async fn a_write_beyond_the_limit_of_a_files_size_is_an_error() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes: more than a new store has.
    let process = start_after("ulimit -f 400", &wechat, dir.path());
    let mut number = 0;
    loop {
        let answer = process.client.login(&format!("user-{number}")).await;
        if answer.status != 200 {
            answer.assert_problem(503, "store_unavailable", "login_again");
            break;
        }
        number += 1;
        assert!(number < 20_000);
    }
    process.client.get("/healthz").await.assert_status(200);
}
