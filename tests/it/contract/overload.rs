//! More logins than WeChat or the service can handle.

use std::time::{Duration, Instant};

use crate::fake_wechat::FakeWechat;
use crate::support::app::{TestApp, vars};
use crate::support::process::Process;
use crate::support::wait::eventually;

#[tokio::test]
async fn a_login_without_a_slot_is_refused_soon_and_sessions_are_looked_up_meanwhile() {
    let app = TestApp::with(&[("WECHAT_MAX_IN_FLIGHT", "2")]).await;
    let token = app.client.token("user-alice").await;
    let running: Vec<_> = ["slow-1500.a", "slow-1500.b"]
        .map(|code| {
            let client = app.client.clone();
            tokio::spawn(async move { client.login(code).await })
        })
        .into();
    eventually("WeChat is asked twice", async || {
        app.wechat.requests_for("slow-1500.a") + app.wechat.requests_for("slow-1500.b") >= 2
    })
    .await;
    let begin = Instant::now();
    let (refused, session) = tokio::join!(app.client.login("user-bob"), app.client.session(&token));
    session.assert_status(200);
    refused.assert_problem(503, "overloaded", "retry_later");
    assert!(
        begin.elapsed() >= Duration::from_millis(500),
        "it must wait for a slot"
    );
    assert_eq!(app.wechat.requests_for("user-bob"), 0);
    // A repeat needs no slot.
    app.client.login("user-alice").await.assert_status(200);
    for login in running {
        login.await.unwrap().assert_status(200);
    }
    app.client.login("user-bob").await.assert_status(200);
}

#[tokio::test]
async fn an_exhausted_quota_is_left_alone_for_ten_seconds() {
    let app = TestApp::start().await;
    app.client
        .login("error-45009")
        .await
        .assert_problem(503, "quota_exhausted", "retry_later");
    app.clock.forward(9);
    let held = app.client.login("user-alice").await;
    held.assert_problem(503, "quota_exhausted", "retry_later");
    assert_eq!(held.json()["errcode"], 45009);
    assert_eq!(app.wechat.requests_for("user-alice"), 0);
    app.clock.forward(1);
    app.client.login("user-alice").await.assert_status(200);
}

#[tokio::test]
async fn a_limited_user_holds_up_nobody_else() {
    let app = TestApp::start().await;
    app.client
        .login("error-45011")
        .await
        .assert_problem(429, "rate_limited", "retry_later");
    app.client.login("user-alice").await.assert_status(200);
}

/// Resident memory of a process, in MB.
fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test]
async fn a_flood_is_answered_with_200_or_overloaded_in_bounded_memory() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("SESSION_STORE", "file:s.sessions"),
        ("WECHAT_MAX_IN_FLIGHT", "20"),
    ];
    let process = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let token = process.client.token("user-alice").await;
    let flood: Vec<_> = (0..300)
        .map(|connection| {
            let client = process.client.clone();
            tokio::spawn(async move {
                let mut good = 0;
                for login in 0..10 {
                    let answer = client
                        .login(&format!("slow-200.{connection}.{login}"))
                        .await;
                    if answer.status == 200 {
                        good += 1;
                    } else {
                        answer.assert_problem(503, "overloaded", "retry_later");
                    }
                }
                good
            })
        })
        .collect();
    while flood.iter().any(|connection| !connection.is_finished()) {
        process.client.session(&token).await.assert_status(200);
        let memory = resident_mb(process.id());
        assert!(memory < 150, "{memory} MB");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut good = 0;
    for connection in flood {
        good += connection.await.unwrap();
    }
    assert!(good > 100 && good < 3000, "{good} of 3000");
}
