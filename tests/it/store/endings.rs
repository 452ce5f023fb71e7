//! The end of all sessions of a user, at the same moment as logins of that user.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use rusqlite::Connection;
use wxlogin::{LoginOrigin, WxLogin};

use crate::fake_wechat::{APPID, FakeWechat, openid};
use crate::support::app::{TestApp, config, vars};
use crate::support::backend::{Backend, OPEN, TOKEN};
use crate::support::disk::Disk;
use crate::support::redis_server::{RedisCluster, RedisServer};
use crate::support::wait::{asked_for, eventually};

#[tokio::test]
async fn a_login_whose_commit_waits_when_its_user_is_erased_leaves_no_row() {
    erased_while_a_commit_waits(false).await;
}

#[tokio::test]
async fn a_login_that_failed_while_its_commit_waited_leaves_no_row_of_an_erased_user() {
    erased_while_a_commit_waits(true).await;
}

async fn erased_while_a_commit_waits(until_it_fails: bool) {
    let (wechat, disk) = (FakeWechat::start().await, Disk::new());
    let mut settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    settings.insert("INTERNAL_ADDR".into(), "127.0.0.1:0".into());
    settings.insert("INTERNAL_TOKEN".into(), TOKEN.into());
    let process = disk.start(&settings);
    disk.fault("sync", "hang");
    let (client, internal) = (process.client.clone(), process.internal());
    let login = tokio::spawn(async move { client.login("user-alice").await });
    asked_for(&wechat, "user-alice").await;
    disk.await_hits(0).await;
    let path = format!("/users/{APPID}/{}/sessions", openid("alice"));
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*bearer)];
    let erase = internal.send(Method::DELETE, &path, &headers);
    let erased = if until_it_fails {
        let login = login.await.unwrap();
        login.assert_problem(503, "store_unavailable", "login_again");
        let mend = async {
            disk.await_hits(0).await;
            disk.mend();
        };
        tokio::join!(erase, mend).0
    } else {
        let mend = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            disk.mend();
        };
        let (erased, ()) = tokio::join!(erase, mend);
        let login = login.await.unwrap();
        login.assert_problem(400, "code_used", "login_again");
        assert_eq!(login.json().get("errcode"), None, "WeChat sent none");
        erased
    };
    erased.assert_status(204);
    process.signal("TERM");
    process.wait();
    let database = disk.dir().join("s.sessions/sessions.sqlite");
    let db = Connection::open(database).unwrap();
    let rows = "SELECT count(*) FROM session WHERE openid = ?";
    let rows: i64 = db
        .query_row(rows, [openid("alice")], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 0);
}

/// Codes that another replica has exchanged give no session that lives after the end.
#[tokio::test]
async fn a_repeat_at_one_replica_does_not_outlive_an_end_at_the_other() {
    let redis = RedisServer::start();
    let wechat = FakeWechat::start().await;
    let url = redis.url();
    let settings = [&OPEN[..], &[("SESSION_STORE", &*url)]].concat();
    let replica = async || {
        TestApp::setup()
            .wechat(&wechat)
            .settings(&settings)
            .start()
            .await
    };
    let (one, other) = (replica().await, replica().await);
    let backend = Backend::of(&one);
    for round in 0..200 {
        let user = format!("u{round}");
        let code = format!("user-{user}");
        one.client.login(&code).await.assert_status(200);
        let repeats = join_all((0..4).map(|_| other.client.login(&code)));
        let (repeats, ended) = tokio::join!(repeats, backend.end(&user));
        ended.assert_status(204);
        for repeat in repeats {
            if repeat.status == 200 {
                let token = repeat.json()["token"].as_str().unwrap().to_owned();
                other.client.session(&token).await.assert_status(401);
            }
        }
    }
}

/// Redis answers writes a second later, and meanwhile the minute of the code passes.
#[tokio::test]
async fn a_repeat_at_the_end_of_its_minute_ends_no_other_session() {
    let redis = RedisServer::start();
    let wechat = FakeWechat::start().await;
    let url = redis.url();
    let settings = [("SESSION_STORE", &*url)];
    let setup = || TestApp::setup().wechat(&wechat).settings(&settings);
    let (one, other) = (setup().start().await, setup().start().await);
    let first = one.client.token("user-alice").await;
    let exchange = redis.cli(&["-n", "3", "--raw", "KEYS", "wxlogin2:exchange:*"]);
    redis.cli(&["-n", "3", "PEXPIRE", exchange.trim(), "500"]);
    redis.cli(&["CLIENT", "PAUSE", "1000", "WRITE"]);
    let repeat = other.client.login("user-alice").await;
    repeat.assert_problem(400, "code_used", "login_again");
    one.client.session(&first).await.assert_status(200);
    assert_eq!(
        redis
            .cli(&["-n", "3", "--raw", "KEYS", "wxlogin2:session:*"])
            .lines()
            .count(),
        1
    );
}

#[tokio::test]
async fn a_user_with_thousands_of_sessions_in_a_cluster_can_be_banned() {
    let cluster = RedisCluster::start();
    let app = TestApp::with(&[&OPEN[..], &[("SESSION_STORE", &*cluster.url())]].concat()).await;
    let mut tokens = Vec::new();
    for code in 0..20 {
        let code = format!("user-alice.{code}");
        let logins = join_all((0..100).map(|_| app.client.token(&code)));
        tokens.extend(logins.await);
    }
    Backend::of(&app).end("alice").await.assert_status(204);
    for token in tokens.iter().step_by(100) {
        app.client.session(token).await.assert_status(401);
    }
}

#[tokio::test]
async fn requests_that_were_cancelled_while_they_waited_for_a_code_do_nothing() {
    let redis = RedisServer::start();
    let wechat = FakeWechat::start().await;
    let wxlogin = WxLogin::new(config(&wechat.base(), &[("SESSION_STORE", &redis.url())])).unwrap();
    redis.signal("STOP");
    let logins = (0..20).map(|_| wxlogin.log_in("user-alice", LoginOrigin::default()));
    let cancelled = tokio::time::timeout(Duration::from_millis(300), join_all(logins)).await;
    assert!(cancelled.is_err());
    // One of them asks Redis, for two seconds; twenty would for forty.
    let begin = Instant::now();
    wxlogin.close().await;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    redis.signal("CONT");
    eventually("Redis goes on", async || wxlogin.ready().await.is_ok()).await;
    assert_eq!(wechat.requests_for("user-alice"), 0);
}
