//! Several processes on one Redis, and a Redis that fails.

use std::time::{Duration, Instant};

use crate::app::{Answer, TestApp, vars};
use crate::fake_wechat::{FakeWechat, openid};
use crate::process::Process;
use crate::redis_server::RedisServer;

/// Two processes with one Redis and one WeChat.
async fn replicas(redis: &RedisServer) -> (FakeWechat, [Process; 2]) {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", &redis.url())]);
    let processes = [(); 2].map(|()| Process::start(dir.path(), &settings));
    (wechat, processes)
}

fn token(answer: &Answer) -> String {
    answer.json()["token"]
        .as_str()
        .expect(&answer.text)
        .to_owned()
}

#[tokio::test]
async fn they_share_sessions_and_ends() {
    let redis = RedisServer::start();
    let (_wechat, [one, other]) = replicas(&redis).await;
    let token = one.client.token("user-alice").await;
    let session = other.client.session(&token).await;
    assert_eq!(session.json()["openid"], openid("alice"));
    other.client.end(&token).await.assert_status(204);
    one.client
        .session(&token)
        .await
        .assert_problem(401, "invalid_token", "login_again");
}

#[tokio::test]
async fn one_code_at_both_in_the_same_instant_is_refused_nowhere() {
    let redis = RedisServer::start();
    let (wechat, processes) = replicas(&redis).await;
    for round in 0..50 {
        let code = format!("user-alice.{round}");
        let requests = (0..24).map(|request| processes[request % 2].client.login(&code));
        for answer in futures_util::future::join_all(requests).await {
            answer.assert_status(200);
            assert_eq!(answer.json()["openid"], openid("alice"));
        }
        let asked = wechat.requests_for(&code);
        assert!(
            asked <= 2,
            "once for each process at the most, not {asked} times"
        );
    }
}

#[tokio::test]
async fn a_repeat_at_the_other_needs_no_exchange_also_when_the_first_was_killed() {
    let redis = RedisServer::start();
    let (wechat, [one, other]) = replicas(&redis).await;
    one.client.login("user-alice").await.assert_status(200);
    one.signal("KILL");
    other.client.login("user-alice").await.assert_status(200);
    assert_eq!(wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_repeat_after_a_kill_and_a_restart_on_the_file_needs_no_exchange() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.redb")]);
    let process = Process::start(dir.path(), &settings);
    process.client.login("user-alice").await.assert_status(200);
    process.signal("KILL");
    process.wait();
    let process = Process::start(dir.path(), &settings);
    let answer = process.client.login("user-alice").await;
    answer.assert_status(200);
    process
        .client
        .session(&token(&answer))
        .await
        .assert_status(200);
    assert_eq!(wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_redis_that_stands_still_is_503_and_its_codes_log_in_afterwards() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let kept = app.client.token("user-kept").await;
    let exchanged_already = tokio::spawn({
        let client = app.client.clone();
        async move { client.login("slow-500").await }
    });
    while app.wechat.requests_for("slow-500") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    redis.signal("STOP");
    let begin = Instant::now();
    let (login, session, readyz) = tokio::join!(
        app.client.login("user-alice"),
        app.client.session(&kept),
        app.client.get("/readyz"),
    );
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    login.assert_problem(503, "store_unavailable", "login_again");
    session.assert_problem(503, "store_unavailable", "retry_later");
    readyz.assert_problem(503, "store_unavailable", "retry_later");
    exchanged_already
        .await
        .unwrap()
        .assert_problem(503, "store_unavailable", "login_again");
    app.client.get("/healthz").await.assert_status(200);
    redis.signal("CONT");
    for code in ["user-alice", "slow-500"] {
        app.client.login(code).await.assert_status(200);
        assert_eq!(app.wechat.requests_for(code), 1);
    }
    app.client.session(&kept).await.assert_status(200);
    app.client.get("/readyz").await.assert_status(200);
}

#[tokio::test]
async fn a_user_who_could_not_be_stored_is_not_lost() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    redis.cli(&["ACL", "SETUSER", "default", "-set"]);
    for _ in 0..2 {
        let refused = app.client.login("user-alice").await;
        refused.assert_problem(503, "store_unavailable", "login_again");
    }
    redis.cli(&["ACL", "SETUSER", "default", "+set"]);
    app.client.login("user-alice").await.assert_status(200);
    assert_eq!(app.wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_redis_restarted_empty_has_no_sessions_and_takes_new_ones() {
    let mut redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let lost = app.client.token("user-alice").await;
    redis.restart();
    app.client
        .session(&lost)
        .await
        .assert_problem(401, "invalid_token", "login_again");
    let token = app.client.token("user-alice.2").await;
    app.client.session(&token).await.assert_status(200);
}

#[tokio::test]
async fn a_redis_that_comes_later_or_has_another_password_does_not_stop_the_start() {
    let redis = RedisServer::start();
    let wrong = redis.url().replace(":redis-", ":other-");
    let app = TestApp::with(&[("SESSION_STORE", &wrong)]).await;
    app.client
        .get("/readyz")
        .await
        .assert_problem(503, "store_unavailable", "retry_later");
    app.client
        .login("user-alice")
        .await
        .assert_problem(503, "store_unavailable", "login_again");
    assert_eq!(app.wechat.requests_for("user-alice"), 0);
    // The password is set right at last, and nothing has to be restarted.
    redis.cli(&["ACL", "SETUSER", "default", ">other-p4ssw0rd-canary"]);
    let back = tokio::time::timeout(Duration::from_secs(10), async {
        while app.client.get("/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    back.await.expect("it does not connect again");
    app.client.login("user-alice").await.assert_status(200);

    let nobody = "redis://127.0.0.1:1";
    let app = TestApp::with(&[("SESSION_STORE", nobody)]).await;
    let begin = Instant::now();
    app.client
        .login("user-alice")
        .await
        .assert_problem(503, "store_unavailable", "login_again");
    assert!(begin.elapsed() < Duration::from_secs(3));
}
