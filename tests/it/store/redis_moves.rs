//! A Redis that moves, hangs, is killed or is forgotten by the network.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::fake_wechat::FakeWechat;
use crate::store::redis_kinds::page;
use crate::support::app::{TestApp, vars};
use crate::support::client::Client;
use crate::support::disk::Disk;
use crate::support::process::Process;
use crate::support::redis_proxies::{haproxy, sentinel};
use crate::support::redis_server::{PASSWORD, RedisCluster, RedisServer, Relay, await_until};
use crate::support::wait::eventually;

/// A primary, and a replica that has what the primary has.
fn pair() -> [RedisServer; 2] {
    let debug: &[&str] = &["--enable-debug-command", "yes"];
    let pair = [RedisServer::with(debug), RedisServer::start()];
    pair[1].cli(&["REPLICAOF", "127.0.0.1", &pair[0].port.to_string()]);
    await_until("the replica has it all", || {
        pair[1]
            .cli(&["INFO", "replication"])
            .contains("master_link_status:up")
    });
    pair
}

/// Repeats until the service stores a login again; it says nothing but 503 until then.
async fn await_login(client: &Client, kept: &str) {
    let begin = Instant::now();
    for login in 0.. {
        let session = client.session(kept).await;
        assert!([200, 503].contains(&session.status.as_u16()), "{session:?}");
        let answer = client.login(&format!("user-bob.{login}")).await;
        if answer.status != 200 {
            answer.assert_problem(503, "store_unavailable", "login_again");
        } else if session.status == 200 {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(15), "{}", answer.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_connection_to_what_is_no_longer_the_primary_is_replaced() {
    let demoted: &[&str] = &["REPLICAOF", "127.0.0.1", "1"];
    let stale: &[&str] = &["CONFIG", "SET", "replica-serve-stale-data", "no"];
    // It loads its data for ten seconds, and answers meanwhile.
    let data: &[&str] = &["DEBUG", "POPULATE", "1000", "key", "1000"];
    let events: &[&str] = &[
        "CONFIG",
        "SET",
        "loading-process-events-interval-bytes",
        "1024",
    ];
    let delay: &[&str] = &["CONFIG", "SET", "key-load-delay", "10000"];
    for (what, breaks) in [
        ("LOADING", &[data, events, delay][..]),
        ("READONLY", &[demoted]),
        ("MASTERDOWN", &[stale, demoted]),
        ("no answer", &[]),
    ] {
        let [one, two] = pair();
        let relay = Relay::to(&one).await;
        let app = TestApp::with(&[("SESSION_STORE", &relay.url())]).await;
        let kept = app.client.token("user-alice").await;
        await_until("the replica has it", || {
            two.cli(&["-n", "3", "DBSIZE"]).trim() != "0"
        });
        two.cli(&["REPLICAOF", "NO", "ONE"]);
        relay.redirect(&two);
        for command in breaks {
            one.cli(command);
        }
        let mut loads = TcpStream::connect(("127.0.0.1", one.port)).unwrap();
        match what {
            "LOADING" => {
                write!(loads, "AUTH {PASSWORD}\r\nDEBUG RELOAD\r\n").unwrap();
                await_until("it loads", || one.cli(&["GET", "x"]).starts_with(what));
            }
            "no answer" => one.signal("STOP"),
            _ => {}
        }
        let failed = app.client.login("user-carol").await;
        failed.assert_problem(503, "store_unavailable", "login_again");
        let begin = Instant::now();
        await_login(&app.client, &kept).await;
        assert!(begin.elapsed() < Duration::from_secs(4), "{what}");
        // The code of the failed login is not lost.
        app.client.login("user-carol").await.assert_status(200);
        assert_eq!(app.wechat.requests_for("user-carol"), 1);
    }
}

/// As behind the endpoint of a cloud: the old primary is a replica now, and its connections stay open.
#[tokio::test]
async fn a_name_that_leads_to_another_redis_is_looked_up_again() {
    let [one, two] = pair();
    let _at_the_other_address = Relay::at(&format!("127.0.0.2:{}", one.port), &two).await;
    let (wechat, disk) = (FakeWechat::start().await, Disk::new());
    let url = one.url().replace("127.0.0.1", "localhost");
    let process = disk.start(&vars(&wechat.base(), &[("SESSION_STORE", &url)]));
    let kept = process.client.token("user-alice").await;
    await_until("the replica has it", || {
        two.cli(&["-n", "3", "DBSIZE"]).trim() != "0"
    });
    two.cli(&["REPLICAOF", "NO", "ONE"]);
    one.cli(&["REPLICAOF", "127.0.0.1", &two.port.to_string()]);
    disk.fault("move", "EIO");
    await_login(&process.client, &kept).await;
}

#[tokio::test]
async fn a_failover_by_sentinel_behind_the_documented_haproxy_costs_seconds() {
    let mut pair = pair();
    let proxy = haproxy(&page(), &pair);
    let sentinel = sentinel(&pair[0]);
    await_until("Sentinel knows the replica", || {
        let cli = |words: &[&str]| {
            let port = sentinel.port.to_string();
            let mut command = std::process::Command::new("redis-cli");
            let output = command.args(["-p", &port]).args(words).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        cli(&["INFO", "sentinel"]).contains("slaves=1")
    });
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", proxy.port);
    let app = TestApp::with(&[("SESSION_STORE", &url)]).await;
    // HAProxy must have seen first which one is the primary.
    let begin = Instant::now();
    while app.client.get("/readyz").await.status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kept = app.client.token("user-alice").await;
    await_until("the replica has it", || {
        pair[1].cli(&["DBSIZE"]).trim() != "0"
    });
    pair[0].kill();
    await_login(&app.client, &kept).await;
    assert!(pair[1].cli(&["ROLE"]).starts_with("master"));
}

/// The connections to it stay open, and no node says that its keys have moved.
#[tokio::test]
async fn a_failover_in_a_cluster_from_a_primary_that_hangs_is_followed() {
    let cluster = RedisCluster::start();
    let replica = cluster.replica_of_first();
    let app = TestApp::with(&[("SESSION_STORE", &cluster.url())]).await;
    let mut kept = Vec::new();
    for user in 0..12 {
        kept.push(app.client.token(&format!("user-{user}")).await);
    }
    let hung = &cluster.nodes[0];
    assert_ne!(hung.cli(&["DBSIZE"]).trim(), "0");
    assert_eq!(hung.cli(&["WAIT", "1", "5000"]).trim(), "1");
    hung.signal("STOP");
    await_until("the replica takes over", || {
        replica.cli(&["ROLE"]).starts_with("master")
    });
    let begin = Instant::now();
    eventually("it is ready", async || {
        app.client.get("/readyz").await.status == 200
    })
    .await;
    for token in &kept {
        app.client.session(token).await.assert_status(200);
    }
    assert!(begin.elapsed() < Duration::from_secs(8));
}

/// What the page says that is left when Redis is killed: a session that was there at the last snapshot, one that
/// came later, and one whose end came later.
#[tokio::test]
async fn what_persistence_keeps_when_redis_is_killed_is_what_the_page_says() {
    let everysec: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];
    let always: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    for (row, options, is_snapshot, kept) in [
        (
            "none (`save \"\"`, `appendonly no`) | all sessions are gone |",
            &[][..],
            false,
            [401, 401, 401],
        ),
        (
            "RDB (`save 3600 1 …`) | what came after the last snapshot is undone |",
            &["--save", "3600 1"],
            true,
            [200, 401, 200],
        ),
        (
            "AOF, `appendfsync everysec` | nothing is lost,",
            everysec,
            false,
            [200, 200, 401],
        ),
        (
            "AOF, `appendfsync always` | nothing is lost |",
            always,
            false,
            [200, 200, 401],
        ),
    ] {
        assert!(page().contains(row), "{row}");
        let mut redis = RedisServer::with(options);
        let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
        let old = app.client.token("user-alice").await;
        let ended = app.client.token("user-alice.2").await;
        if is_snapshot {
            assert_eq!(redis.cli(&["SAVE"]).trim(), "OK");
        }
        let new = app.client.token("user-alice.3").await;
        app.client.end(&ended).await.assert_status(204);
        redis.restart();
        let mut found = Vec::new();
        for token in [&old, &new, &ended] {
            found.push(app.client.session(token).await.status.as_u16());
        }
        assert_eq!(found, kept, "{options:?}");
    }
}

/// The timers of established connections to this port, as the kernel shows them: 2 is that of keepalive.
fn timers(port: u16) -> Vec<(String, u64)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect());
    let ours = rows.filter(|row: &Vec<&str>| row[2] == remote && row[3] == "01");
    let timer = |row: Vec<&str>| {
        let (kind, ticks) = row[5].split_once(':').unwrap();
        (kind.to_owned(), u64::from_str_radix(ticks, 16).unwrap())
    };
    ours.map(timer).collect()
}

#[tokio::test]
async fn idle_connections_are_probed() {
    let redis = RedisServer::start();
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", &redis.url())]);
    let process = Process::start(dir.path(), &settings);
    process.client.login("user-alice").await.assert_status(200);
    // While data is on its way, another timer runs.
    await_until("each connection has the timer of keepalive", || {
        let timers = timers(redis.port);
        let is_keepalive = |(kind, ticks): &(String, u64)| kind == "02" && *ticks <= 3000;
        !timers.is_empty() && timers.iter().all(is_keepalive)
    });
}

#[tokio::test]
async fn nothing_is_sent_at_connecting_but_password_and_database() {
    let redis = RedisServer::start();
    let relay = Relay::to(&redis).await;
    let app = TestApp::with(&[("SESSION_STORE", &relay.url())]).await;
    app.client.session(&format!("wxs_{}", "A".repeat(43))).await;
    let sent = relay.sent();
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_uppercase());
    let words = sent.split("\r\n").filter(|word| !word.is_empty());
    let commands: Vec<_> = words.filter(is_word).collect();
    assert_eq!(commands, ["AUTH", "SELECT", "GET"], "{sent}");
}
