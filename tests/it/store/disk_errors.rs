//! A disk that fails, fills up or hangs, and files that are deleted: only durable changes are acknowledged,
//! lookups go on, and the service recovers without a restart.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use reqwest::Method;

use crate::fake_wechat::{APPID, FakeWechat, openid};
use crate::support::app::vars;
use crate::support::client::Client;
use crate::support::disk::Disk;
use crate::support::load::{Load, expectations, violations};
use crate::support::power_cut::Journal;
use crate::support::process::Process;

const KINDS: [&str; 6] = ["open", "write", "sync", "truncate", "read", "unlink"];

fn settings(wechat: &FakeWechat) -> BTreeMap<String, String> {
    vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")])
}

/// Two sessions of one user, one of another, and one that was ended.
struct Tokens {
    twice: [String; 2],
    single: String,
    ended: String,
}

impl Tokens {
    async fn new(client: &Client) -> Self {
        let tokens = Self {
            twice: [
                client.token("user-twice.1").await,
                client.token("user-twice.2").await,
            ],
            single: client.token("user-single").await,
            ended: client.token("user-ended").await,
        };
        client.end(&tokens.ended).await.assert_status(204);
        tokens
    }

    /// `or` is another allowed answer of a lookup.
    async fn assert_unchanged(&self, client: &Client, or: Option<u16>) {
        let [one, other] = &self.twice;
        let live = [one, other, &self.single].map(|token| (token, 200));
        for (token, expected) in live.into_iter().chain([(&self.ended, 401)]) {
            let status = client.session(token).await.status.as_u16();
            assert!(
                status == expected || Some(status) == or,
                "{status}, not {expected}"
            );
        }
    }
}

async fn await_ready(client: &Client) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.get("/readyz").await.status != 200 {
        assert!(Instant::now() < deadline, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Checks all acknowledged changes: after `kill -9`, and after power cuts since so many records of the journal.
async fn assert_durable(
    disk: &Disk,
    settings: &BTreeMap<String, String>,
    process: Process,
    since: usize,
    cuts: u64,
) {
    process.signal("KILL");
    process.wait();
    let journal = Journal::read(&disk.journal());
    let expected = expectations(&journal.marks(journal.len()));
    let process = Process::start(&disk.dir(), settings);
    let after_kill = violations(&process.client, &expected).await;
    assert!(after_kill.is_empty(), "{after_kill:#?}");
    for seed in 0..cuts {
        let mut random = Rng::with_seed(seed);
        let moment = random.usize(since..=journal.len());
        let after = tempfile::tempdir().unwrap();
        journal.rebuild(moment, &mut random, &disk.dir(), after.path());
        let expected = expectations(&journal.marks(moment));
        let process = Process::start(after.path(), settings);
        let after_cut = violations(&process.client, &expected).await;
        assert!(after_cut.is_empty(), "cut {seed}: {after_cut:#?}");
    }
}

/// All writes to the disk fail.
async fn nothing_can_be_written(kind: &str, fault: &str) {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::recorded(), settings(&wechat));
    let process = disk.start(&settings);
    let client = &process.client;
    let tokens = Tokens::new(client).await;
    let mut load = Load::start(client, 2, &disk.journal());
    load.acknowledged(50).await;
    let since = Journal::read(&disk.journal()).len();
    disk.fault(kind, fault);
    disk.await_hits(0).await;
    for attempt in 0..3 {
        let login = client.login(&format!("user-during.{attempt}")).await;
        login.assert_problem(503, "store_unavailable", "login_again");
        for end in [
            client.end(&tokens.single).await,
            client.end_all(&tokens.twice[0]).await,
        ] {
            end.assert_problem(503, "store_unavailable", "retry_later");
        }
        tokens.assert_unchanged(client, None).await;
        let readyz = client.get("/readyz").await;
        readyz.assert_problem(503, "store_unavailable", "retry_later");
    }
    client.get("/healthz").await.assert_status(200);

    disk.mend();
    await_ready(client).await;
    client.end(&tokens.single).await.assert_status(204);
    client.end_all(&tokens.twice[0]).await.assert_status(204);
    for token in [&tokens.single, &tokens.twice[0], &tokens.twice[1]] {
        client.session(token).await.assert_status(401);
        crate::support::power_cut::mark(&disk.journal(), &format!("dead {token}"));
    }
    load.acknowledged(50).await;
    load.stop().await;
    assert_durable(&disk, &settings, process, since, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_fail_are_503_and_their_retries_are_durable() {
    nothing_can_be_written("write", "EIO").await;
    nothing_can_be_written("write", "ENOSPC").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_that_fail_are_503_and_their_retries_are_durable() {
    nothing_can_be_written("sync", "EIO").await;
    nothing_can_be_written("sync", "ENOSPC").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_whose_sync_failed_once_is_synced_before_it_is_answered() {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::recorded(), settings(&wechat));
    let process = disk.start(&settings);
    let client = &process.client;
    let since = Journal::read(&disk.journal()).len();
    for login in 0..5 {
        let token = client.token(&format!("user-alice.{login}")).await;
        let hits = disk.hits();
        disk.fault_once("sync", "EIO", 0);
        client.end(&token).await.assert_status(204);
        assert_eq!(disk.hits(), hits + 1);
        crate::support::power_cut::mark(&disk.journal(), &format!("dead {token}"));
    }
    assert_durable(&disk, &settings, process, since, 10).await;
}

/// Faults that need not cause an error: acknowledged changes are stored, and lookups go on.
async fn other_calls_fail(kind: &str, fault: &str) {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::recorded(), settings(&wechat));
    let process = disk.start(&settings);
    let tokens = Tokens::new(&process.client).await;
    process.signal("TERM");
    process.wait();
    // The first lookup of a thread opens the database and reads it.
    let process = disk.start(&settings);
    let client = &process.client;
    disk.fault(kind, fault);
    let load = Load::start(client, 2, &disk.journal());
    for _ in 0..5 {
        // A lookup that cannot be read is 503, not 401.
        let unreadable = matches!(kind, "open" | "read").then_some(503);
        tokens.assert_unchanged(client, unreadable).await;
        client.get("/healthz").await.assert_status(200);
    }
    load.stop().await;
    // Also that of an idle store, which truncates its log.
    disk.await_hits(0).await;
    let since = Journal::read(&disk.journal()).len();
    disk.mend();
    let mut load = Load::start(client, 2, &disk.journal());
    load.acknowledged(20).await;
    load.stop().await;
    await_ready(client).await;
    tokens.assert_unchanged(client, None).await;
    assert_durable(&disk, &settings, process, since, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_fails_nobody_is_logged_out_and_nothing_is_lost() {
    for (kind, fault) in [
        ("open", "EIO"),
        ("open", "ENOSPC"),
        ("truncate", "EIO"),
        ("truncate", "ENOSPC"),
        ("read", "EIO"),
    ] {
        other_calls_fail(kind, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_now_and_then_loses_nothing() {
    fails_now_and_then(500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn a_disk_that_fails_now_and_then_loses_nothing_for_minutes() {
    for _ in 0..4 {
        fails_now_and_then(5_000).await;
    }
}

/// Single faults at any call, also those of checkpoints.
async fn fails_now_and_then(changes: usize) {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::recorded(), settings(&wechat));
    let process = disk.start(&settings);
    let since = Journal::read(&disk.journal()).len();
    let mut load = Load::start(&process.client, 16, &disk.journal());
    for round in 0..changes / 50 {
        let skip = fastrand::u16(..8);
        let kind = KINDS[round % KINDS.len()];
        disk.fault_once(kind, ["EIO", "ENOSPC"][fastrand::usize(..2)], skip);
        load.acknowledged(50).await;
    }
    assert!(disk.hits() > 1, "{} faults", disk.hits());
    load.stop().await;
    await_ready(&process.client).await;
    assert_durable(&disk, &settings, process, since, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_disk_that_fails_leaves_the_store_as_it_is() {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::new(), settings(&wechat));
    let process = Process::start(&disk.dir(), &settings);
    let tokens = Tokens::new(&process.client).await;
    process.signal("KILL");
    process.wait();
    for kind in KINDS {
        for skip in 0..4 {
            disk.fault_once(kind, "EIO", skip);
            let mut child = disk
                .command(&settings)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut starting = tokio::time::interval(Duration::from_millis(5));
            let deadline = Instant::now() + Duration::from_millis(400);
            let ended = loop {
                starting.tick().await;
                let status = child.try_wait().unwrap();
                if status.is_some() || Instant::now() > deadline {
                    break status;
                }
            };
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let log = String::from_utf8(output.stderr).unwrap();
            if let Some(status) = ended {
                // 2 if the .env could not be read.
                assert!(matches!(status.code(), Some(1 | 2)), "{kind} {skip}: {log}");
            }
            assert!(!log.contains("panicked"), "{log}");
        }
    }
    disk.mend();
    let process = disk.start(&settings);
    tokens.assert_unchanged(&process.client, None).await;
}

/// The log of a start in which a call fails, after as many of its kind as come before.
fn refused_start(disk: &Disk, kind: &str, fault: &str, before: u16) -> String {
    disk.fault_once(kind, fault, before);
    let mut command = disk.command(&vars(
        "http://127.0.0.1:9",
        &[("SESSION_STORE", "file:s.sessions")],
    ));
    let mut service = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(service.stderr.take().unwrap()).lines();
    let mut said = String::new();
    for line in log.map_while(Result::ok) {
        said.extend([&line, "\n"]);
        if line.contains(" listening addr=") {
            service.kill().unwrap();
        }
    }
    assert_eq!(
        service.wait().unwrap().code(),
        Some(1),
        "{kind} {fault}: {said}"
    );
    said
}

#[test]
fn a_start_that_the_file_system_refuses_says_what_was_tried_on_what_and_what_it_means() {
    const OWNER: &str =
        ". The directory and its files must belong to the user that wxlogin runs as";
    const READ_ONLY: &str = ". It is mounted read-only";
    const FULL: &str = ". The disk is full";
    const NETWORK: &str =
        ". Network file systems have no such locks, or lose them: name a directory on a local disk";
    let create = "failed to create directory `s.sessions`";
    let open = "failed to open file `s.sessions`";
    let chmod = "failed to set permissions for file `s.sessions/`";
    let rename =
        "failed to rename file from `s.sessions/unfinished.sqlite` to `s.sessions/sessions.sqlite`";
    // .env is opened first.
    for (kind, fault, before, tried, meaning) in [
        ("open", "EACCES", 1, create, OWNER),
        ("open", "EROFS", 1, create, READ_ONLY),
        ("open", "ENOSPC", 1, create, FULL),
        (
            "sync",
            "EIO",
            0,
            "failed to sync file `s.sessions/..`",
            "Input/output error",
        ),
        ("open", "EACCES", 3, open, OWNER),
        ("lock", "ENOLCK", 0, "cannot lock s.sessions", NETWORK),
        ("unlink", "EROFS", 0, rename, READ_ONLY),
        ("chmod", "EPERM", 0, chmod, OWNER),
    ] {
        let said = refused_start(&Disk::new(), kind, fault, before);
        assert!(
            said.contains(tried) && said.contains(meaning),
            "{kind} {fault}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_503_and_lookups_go_on() {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::new(), settings(&wechat));
    let process = disk.start(&settings);
    let client = &process.client;
    let tokens = Tokens::new(client).await;
    disk.fault("sync", "hang");
    let begin = Instant::now();
    let writes = async {
        let (login, end, readyz) = tokio::join!(
            client.login("user-during"),
            client.end(&tokens.single),
            client.get("/readyz"),
        );
        login.assert_problem(503, "store_unavailable", "login_again");
        end.assert_problem(503, "store_unavailable", "retry_later");
        readyz.assert_problem(503, "store_unavailable", "retry_later");
    };
    let lookups = async {
        disk.await_hits(0).await;
        let begin = Instant::now();
        for _ in 0..10 {
            tokens.assert_unchanged(client, None).await;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
    };
    tokio::join!(writes, lookups);
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    disk.mend();
    await_ready(client).await;
    client.login("user-during.2").await.assert_status(200);
    // The requested end of the session may have been done late, or not at all.
    let end = client.end(&tokens.single).await.status.as_u16();
    assert!(end == 204 || end == 401, "{end}");
    client.session(&tokens.single).await.assert_status(401);
}

/// At 16 MiB a checkpoint writes the log into the database, which fails here.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn a_write_ahead_log_that_cannot_be_emptied_has_a_limit() {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::new(), settings(&wechat));
    let process = disk.start(&settings);
    let client = &process.client;
    let tokens = Tokens::new(client).await;
    disk.fault("checkpoint", "EIO");
    let log = disk.dir().join("s.sessions/sessions.sqlite-wal");
    let length = || fs::metadata(&log).unwrap().len() >> 20;
    // Each commit writes some pages.
    let mut burst = 0;
    while client.get("/readyz").await.status == 200 {
        assert!(length() < 70, "{} MiB", length());
        let codes = (0..64).map(|number| format!("user-{burst}x{number}"));
        join_all(codes.map(|code| async move { client.login(&code).await })).await;
        burst += 1;
    }
    assert!(length() >= 64, "{} MiB", length());
    let login = client.login("user-during").await;
    login.assert_problem(503, "store_unavailable", "login_again");
    tokens.assert_unchanged(client, None).await;
    disk.mend();
    await_ready(client).await;
    client.login("user-after").await.assert_status(200);
    tokens.assert_unchanged(client, None).await;
}

/// The caches are empty after a start: sessions that were stored before are read from the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_whose_reads_hang_holds_up_neither_the_internal_listener_nor_a_stop() {
    let wechat = FakeWechat::start().await;
    let (disk, mut settings) = (Disk::new(), settings(&wechat));
    settings.insert("INTERNAL_ADDR".into(), "127.0.0.1:0".into());
    settings.insert("INTERNAL_TOKEN".into(), "0123456789abcdef".into());
    let process = disk.start(&settings);
    let tokens = Tokens::new(&process.client).await;
    process.signal("TERM");
    process.wait();
    let process = disk.start(&settings);
    await_ready(&process.client).await;
    let internal = process.internal();
    disk.fault("read", "hang");
    // Enough requests that each core has one, and hangs.
    let held_up = (0..64).map(|_| {
        let (client, token) = (Client::new(process.client.addr), tokens.single.clone());
        tokio::spawn(async move {
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", &*bearer)];
            let _ = client.try_send(Method::GET, "/session", &headers).await;
        })
    });
    let held_up: Vec<_> = held_up.collect();
    disk.await_hits(0).await;
    let begin = Instant::now();
    for _ in 0..5 {
        internal.get("/healthz").await.assert_status(200);
        internal.get("/metrics").await.assert_status(200);
    }
    let duration = begin.elapsed();
    assert!(duration < Duration::from_secs(3), "{duration:?}");
    // A search has a limit of time.
    let path = format!("/users/{APPID}/{}/sign", openid("twice"));
    let sign = internal.post(&path, "0123456789abcdef", r#"{"data":""}"#);
    sign.await
        .assert_problem(503, "store_unavailable", "retry_later");
    let begin = Instant::now();
    process.signal("TERM");
    process.wait();
    let duration = begin.elapsed();
    assert!(duration < Duration::from_secs(12), "{duration:?}");
    disk.mend();
    for held_up in held_up {
        held_up.await.unwrap();
    }
    let process = disk.start(&settings);
    await_ready(&process.client).await;
    tokens.assert_unchanged(&process.client, None).await;
}

fn shell(script: &str, dir: &Path) {
    let mut sh = Command::new("sh");
    let status = sh.args(["-ec", script]).current_dir(dir).status();
    assert!(status.unwrap().success(), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_taken_away_under_the_process_are_noticed() {
    for tampering in [
        "rm s.sessions/*",
        "rm -r s.sessions",
        "mv s.sessions away",
        "mv s.sessions away; cp -rp away s.sessions",
        "cd s.sessions; for file in *; do cp -p $file new; mv new $file; done",
        "mv s.sessions away; mkdir s.sessions",
    ] {
        let wechat = FakeWechat::start().await;
        let (disk, settings) = (Disk::new(), settings(&wechat));
        let process = Process::start(&disk.dir(), &settings);
        let client = &process.client;
        let tokens = Tokens::new(client).await;
        let mut load = Load::start(client, 8, &disk.journal());
        // So that every core has opened its files.
        load.acknowledged(200).await;
        load.stop().await;
        shell(tampering, &disk.dir());
        let readyz = client.get("/readyz").await;
        assert_eq!(readyz.status, 503, "{tampering}: ready");
        let login = client.login("user-during").await;
        login.assert_problem(503, "store_unavailable", "login_again");
        let end = client.end(&tokens.single).await;
        end.assert_problem(503, "store_unavailable", "retry_later");
        client.get("/healthz").await.assert_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_that_is_deleted_loses_nothing_that_is_acknowledged_later() {
    let wechat = FakeWechat::start().await;
    let settings = settings(&wechat);
    let names = |disk: &Disk| {
        let entries = fs::read_dir(disk.dir().join("s.sessions")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    for nth in 0..8 {
        let disk = Disk::new();
        let process = Process::start(&disk.dir(), &settings);
        process
            .client
            .login(&format!("user-before.{nth}"))
            .await
            .assert_status(200);
        let Some(file) = names(&disk).get(nth).cloned() else {
            return assert!(nth > 0);
        };
        fs::remove_file(&file).unwrap();
        let login = process.client.login(&format!("user-after.{nth}")).await;
        process.signal("KILL");
        process.wait();
        if login.status == 200 {
            let process = Process::start(&disk.dir(), &settings);
            let token = login.json()["token"].as_str().unwrap().to_owned();
            process.client.session(&token).await.assert_status(200);
        } else {
            login.assert_problem(503, "store_unavailable", "login_again");
        }
    }
    panic!("more files than this test deletes");
}
