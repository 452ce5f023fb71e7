//! Damage that a running service finds, and a clock that is years off: both are told.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use wxlogin::session::{Session, Store};

use crate::fake_wechat::FakeWechat;
use crate::support::app::{ManualClock, metrics, vars};
use crate::support::disk::Disk;
use crate::support::metrics::numbers;
use crate::support::process::Process;
use crate::support::stores::{create, encryption, settings, user};
use crate::support::wait::eventually;

const PAGE: usize = 4096;
/// The first byte of a page with rows.
const LEAF: u8 = 0x0d;

fn start(wechat: &FakeWechat, dir: &Path) -> Process {
    let settings = [
        ("SESSION_STORE", "file:s.sessions"),
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("WECHAT_TIMEOUT", "30s"), // for hundreds of logins at once
    ];
    Process::start(dir, &vars(&wechat.base(), &settings))
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_the_database_is_in_the_log_the_metrics_and_the_readiness() {
    let (wechat, dir) = (FakeWechat::start().await, tempfile::tempdir().unwrap());
    let process = start(&wechat, dir.path());
    let client = &process.client;
    let first = client.token("user-first").await;
    let logins = (0..300).map(|user| format!("user-{user}"));
    join_all(logins.map(async |code| client.token(&code).await)).await;
    let store = dir.path().join("s.sessions");
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::metadata(store.join("sessions.sqlite-wal"))
        .unwrap()
        .len()
        > 0
    {
        assert!(Instant::now() < deadline, "the log stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.get("/readyz").await.assert_status(200);

    let path = store.join("sessions.sqlite");
    let bytes = fs::read(&path).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for (nth, page) in bytes.chunks(PAGE).enumerate() {
        if page[0] == LEAF {
            file.seek(SeekFrom::Start((nth * PAGE) as u64)).unwrap();
            file.write_all(&[0xff; PAGE]).unwrap();
        }
    }
    // A commit, after which readers read again.
    client.login("user-after").await;
    for _ in 0..3 {
        let lookup = client.session(&first).await;
        lookup.assert_problem(503, "store_unavailable", "retry_later");
    }
    let reported = Instant::now();
    let readyz = client.get("/readyz").await;
    readyz.assert_problem(503, "store_unavailable", "retry_later");
    eventually("damage is told", async || {
        process.log().contains("the session store is damaged")
    })
    .await;
    let log = process.log();
    assert_eq!(
        log.matches("the session store is damaged").count(),
        1,
        "{log}"
    );
    assert!(
        log.contains("restore the directory of the store from a backup"),
        "{log}"
    );
    let numbers = numbers(&process.internal()).await;
    assert!(numbers[r#"wxlogin_store_damage_total{what="database"}"#] >= 3.0);

    // A single read that failed passes.
    eventually("the store is ready again", async || {
        client.get("/readyz").await.status == 200
    })
    .await;
    let unready = reported.elapsed().as_secs_f64();
    assert!((9.5..15.0).contains(&unready), "{unready} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_fit_its_token_is_counted() {
    let (wechat, dir) = (FakeWechat::start().await, tempfile::tempdir().unwrap());
    let process = start(&wechat, dir.path());
    let client = &process.client;
    let token = client.token("user-alice").await;
    let altered = format!("{}AAAAAAAA", &token[..token.len() - 8]);
    for _ in 0..3 {
        client.session(&altered).await.assert_status(401);
    }
    let metrics = process.internal().get("/metrics").await.text;
    for count in [r#"{what="row"} 3"#, r#"{what="database"} 0"#] {
        let line = format!("wxlogin_store_damage_total{count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    eventually("a misfit is told", async || {
        process.log().contains("does not fit its token")
    })
    .await;
    let log = process.log();
    assert_eq!(log.matches("does not fit its token").count(), 1, "{log}");
    assert!(!log.contains(&altered), "{log}");
    // Whoever has a token can alter it.
    client.get("/readyz").await.assert_status(200);
    client.session(&token).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_years_later_says_what_it_will_delete_and_deletes_nothing_yet() {
    const YEARS_AGO: u64 = 1_600_000_000;
    let (wechat, dir) = (FakeWechat::start().await, tempfile::tempdir().unwrap());
    let url = format!("file:{}", dir.path().join("s.sessions").display());
    let open = |clock: &ManualClock| {
        let encryption = encryption(&["s1"]);
        Store::open(&settings(&url), encryption, metrics(), clock.clock())
            .unwrap()
            .0
    };
    let clock = ManualClock::at(YEARS_AGO);
    let store = open(&clock);
    let ttl = Duration::from_secs(1000);
    let session = Session::new(user("oAlice"), None, YEARS_AGO, ttl);
    let token = create(&store, session, None).await;
    store.close().await;
    let settings = vars(&wechat.base(), &[("SESSION_STORE", &url)]);
    // Again at a start after somebody has logged in by this clock.
    for start in 0..2 {
        let process = Process::start(dir.path(), &settings);
        process.client.token(&format!("user-{start}")).await;
        process.signal("TERM");
        let (_, log) = process.wait();
        assert!(
            log.contains("by this clock sessions expired days ago"),
            "{log}"
        );
    }
    let store = open(&clock);
    assert!(store.find(&token).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_years_ahead_is_told_and_deletes_nothing_yet() {
    let (wechat, disk) = (FakeWechat::start().await, Disk::new());
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let process = disk.start(&settings);
    let token = process.client.token("user-alice").await;
    fs::write(disk.clock(), "").unwrap();
    process.client.session(&token).await.assert_status(401);
    eventually("the clock is told", async || {
        let told = "the clock was set: for five minutes no expired session is deleted";
        process.log().contains(told)
    })
    .await;
    fs::remove_file(disk.clock()).unwrap();
    process.client.session(&token).await.assert_status(200);
}
