//! What wxlogin works with: Redis, Valkey, a cluster, a user with few permissions, proxies. And what it tells of
//! a Redis that does not keep sessions.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wxlogin::clock::Clock;
use wxlogin::session::{Encryption, Settings, Store, Token};

use crate::fake_wechat::{APPID, encrypt, openid, session_key, sign, user_info};
use crate::support::app::{TestApp, metrics};
use crate::support::backend::{Backend, OPEN};
use crate::support::redis_proxies::{sentinel, twemproxy};
use crate::support::redis_server::{PASSWORD, RedisCluster, RedisServer, await_until};
use crate::support::wait::eventually;

/// The page about Redis in English.
pub fn page() -> String {
    read("docs/en/redis.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Runs every operation of a store through the service.
async fn everything(store: &str) {
    let app = TestApp::with(&[&OPEN[..], &[("SESSION_STORE", store)]].concat()).await;
    let (client, backend) = (&app.client, Backend::of(&app));
    client.get("/readyz").await.assert_status(200);

    let token = client.token("user-alice").await;
    let repeated = client.token("user-alice").await;
    client.session(&token).await.assert_status(200);
    let info = user_info(APPID, &openid("alice"), app.clock.clock().now());
    let good = encrypt(&session_key("user-alice"), &info);
    client.decrypt(&token, &good).await.assert_status(200);
    let junk = encrypt(&[7; 16], "{}");
    client.decrypt(&token, &junk).await.assert_status(422);
    let signature = sign(&session_key("user-alice"), "{}");
    let verified = client.verify(&token, "{}", &signature).await;
    verified.assert_status(204);
    backend.sign("alice", "x").await.assert_status(200);

    client.end(&token).await.assert_status(204);
    client.session(&token).await.assert_status(401);
    client.session(&repeated).await.assert_status(200);
    let last = client.token("user-alice.2").await;
    client.end_all(&last).await.assert_status(204);
    client.session(&repeated).await.assert_status(401);
    let banned = client.token("user-alice.3").await;
    backend.end("alice").await.assert_status(204);
    client.session(&banned).await.assert_status(401);
    backend.sign("alice", "x").await.assert_status(409);
    let login = client.login("user-alice.3").await;
    login.assert_problem(400, "code_used", "login_again");
    client.get("/readyz").await.assert_status(200);
    app.stop().await;
}

#[tokio::test]
async fn everything_works_with_valkey_a_cluster_and_a_proxy_that_knows_few_commands() {
    let valkey = RedisServer::valkey();
    everything(&valkey.url()).await;
    let cluster = RedisCluster::start();
    everything(&cluster.url()).await;
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let proxy = twemproxy(&[&one, &two]);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", proxy.port);
    everything(&url).await;
    let store = open(&url);
    for second in 0..40 {
        let token = Token::generate(Duration::from_secs(2_000_000_000 + second)).unwrap();
        assert!(store.find(&token).await.unwrap().is_none());
    }
    for server in [one, two] {
        let commands = server.cli(&["INFO", "commandstats"]);
        assert!(commands.contains("cmdstat_get:"), "{commands}");
    }
}

/// A store without Mini Programs, as `wxlogin check` opens it.
fn open(url: &str) -> Store {
    let settings = Settings {
        url: url.parse().unwrap(),
        ttl: Duration::from_secs(1000),
    };
    let encryption = Encryption::new([]).unwrap();
    let opened = Store::open(&settings, encryption, metrics(), Clock::system());
    opened.unwrap().0
}

/// What is wrong with it: the error or the warnings of `wxlogin check`.
async fn fault(url: &str) -> String {
    let store = open(url);
    match store.check().await {
        Ok(()) => store.warnings().await.join("\n"),
        Err(error) => error.to_string(),
    }
}

/// What the documentation says that a Redis user needs: keys and commands.
pub fn permissions() -> Vec<String> {
    let of = |page: &str| {
        let (_, words) = page.split_once(">PASSWORD ").unwrap();
        let words = words.lines().next().unwrap();
        words.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let words = of(&page());
    assert_eq!(words, of(&read("docs/zh-CN/redis.md")));
    words
}

/// Makes `wxlogin` a user with these permissions; returns the URL with that user.
fn allow<'a>(server: &RedisServer, words: impl Iterator<Item = &'a String>, url: &str) -> String {
    let user = ["ACL", "SETUSER", "wxlogin", "reset", "on", ">pass"];
    let words: Vec<&str> = user.into_iter().chain(words.map(String::as_str)).collect();
    assert_eq!(server.cli(&words).trim(), "OK", "{words:?}");
    url.replace(&format!(":{PASSWORD}@"), "wxlogin:pass@")
}

#[tokio::test]
async fn a_user_with_the_documented_permissions_can_do_everything_and_needs_each() {
    let words = permissions();
    let redis = RedisServer::start();
    let url = allow(&redis, words.iter(), &redis.url());
    everything(&url).await;
    assert_eq!(fault(&url).await, "");
    let dump = String::from_utf8_lossy(&redis.dump()).into_owned();
    assert!(!dump.contains(&openid("alice")), "it is not erased: {dump}");
    for missing in &words {
        let needed_by_clusters = ["+asking", "+cluster|slots", "+ping"];
        if needed_by_clusters.contains(&missing.as_str()) {
            continue;
        }
        allow(&redis, words.iter().filter(|it| *it != missing), "");
        let fault = fault(&url).await.to_lowercase();
        let (answer, needs) = fault.split_once("; its user needs ").expect(&fault);
        assert_eq!(needs, words.join(" "));
        match missing.strip_prefix('+') {
            Some(command) => assert!(answer.contains(command), "{command}: {answer}"),
            None => assert!(answer.contains("keys"), "{answer}"),
        }
    }
}

#[tokio::test]
async fn a_user_of_a_cluster_with_the_documented_permissions_can_do_everything() {
    let words = permissions();
    let cluster = RedisCluster::start();
    let allow_on_each = |missing: &str| {
        for node in &cluster.nodes {
            allow(node, words.iter().filter(|it| *it != missing), "");
        }
        allow(
            &cluster.nodes[0],
            words.iter().filter(|it| *it != missing),
            &cluster.url(),
        )
    };
    let url = allow_on_each("");
    everything(&url).await;
    assert_eq!(fault(&url).await, "");
    let url = allow_on_each("+cluster|slots");
    let fault = fault(&url).await;
    assert!(fault.contains("'cluster|slots'"), "{fault}");

    // The slot of a key moves to another node, which gets what is new: here of the exchange of the check.
    let key = format!("wxlogin2:exchange:{}", URL_SAFE_NO_PAD.encode([1; 32]));
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", &key]);
    let slot = slot.trim();
    let owner = slot.parse::<usize>().unwrap() * 3 / 16384;
    let other = (owner + 1) % 3;
    for (node, how, from) in [(other, "IMPORTING", owner), (owner, "MIGRATING", other)] {
        let id = cluster.nodes[from].cli(&["CLUSTER", "MYID"]);
        let words = ["CLUSTER", "SETSLOT", slot, how, id.trim()];
        assert_eq!(cluster.nodes[node].cli(&words).trim(), "OK");
    }
    let without_asking = self::fault(&allow_on_each("+asking")).await;
    assert!(without_asking.contains("'asking'"), "{without_asking}");
    assert_eq!(self::fault(&allow_on_each("")).await, "");
}

#[tokio::test]
async fn each_kind_of_redis_is_told_with_what_to_write_instead() {
    let (single, valkey) = (RedisServer::start(), RedisServer::valkey());
    let sentinel = sentinel(&single);
    let cluster = RedisCluster::start();
    let replica = RedisServer::start();
    replica.cli(&["REPLICAOF", "127.0.0.1", &single.port.to_string()]);
    let at = |scheme: &str, port: u16, rest: &str| {
        format!("{scheme}://:{PASSWORD}@127.0.0.1:{port}{rest}")
    };
    let open_to_all = format!("redis://127.0.0.1:{}", sentinel.port);
    let node = cluster.nodes[1].port;
    let a_sentinel = "it is a Sentinel, which keeps no data: name the primary";
    let rows = [
        (open_to_all.clone(), a_sentinel),
        (format!("{open_to_all}/1"), a_sentinel),
        (at("redis", sentinel.port, ""), a_sentinel),
        (at("redis", sentinel.port, "/1"), a_sentinel),
        (at("redis+cluster", sentinel.port, ""), a_sentinel),
        (
            open_to_all.replace("redis://", "redis+cluster://"),
            a_sentinel,
        ),
        (
            at("redis", node, ""),
            "it belongs to a cluster: write redis+cluster:// instead of redis://",
        ),
        (
            at("redis", node, "/3"),
            "it belongs to a cluster: write redis+cluster:// instead of redis://",
        ),
        (
            at("redis+cluster", single.port, ""),
            "it belongs to no cluster: write redis:// instead of redis+cluster://",
        ),
        (
            at("redis+cluster", valkey.port, ""),
            "it belongs to no cluster: write redis:// instead of redis+cluster://",
        ),
        (at("redis", replica.port, ""), "it is a replica"),
        (
            at("redis+cluster", cluster.nodes[0].port, "").replace(PASSWORD, "wrong"),
            "Redis answered WRONGPASS invalid username-password pair",
        ),
    ];
    for (url, told) in rows {
        // A Redis that takes more than a second to fail, as on a busy machine, is not asked what it is.
        eventually(&format!("{url}: {told}"), async || {
            let error = open(&url).check().await.expect_err(&url);
            error.to_string().contains(told)
        })
        .await;
    }
}

/// `+info` is for the warnings only.
#[tokio::test]
async fn a_cluster_and_a_single_server_are_told_without_info_too() {
    let (cluster, single) = (RedisCluster::start(), RedisServer::start());
    let words = permissions();
    for (server, url, told) in [
        (
            &cluster.nodes[1],
            cluster.nodes[1].url().replace("/3", ""),
            "it belongs to a cluster: write redis+cluster:// instead of redis://",
        ),
        (
            &single,
            single
                .url()
                .replace("/3", "")
                .replace("redis:", "redis+cluster:"),
            "it belongs to no cluster: write redis:// instead of redis+cluster://",
        ),
    ] {
        for missing in ["", "+info"] {
            let url = allow(server, words.iter().filter(|it| *it != missing), &url);
            let fault = fault(&url).await;
            assert_eq!(fault.matches(told).count(), 1, "{fault}");
        }
    }
}

#[tokio::test]
async fn what_a_cluster_says_is_told() {
    let mut cluster = RedisCluster::start();
    let words = permissions();
    for missing in 0..3 {
        let mut url = String::new();
        for (number, node) in cluster.nodes.iter().enumerate() {
            url = allow(node, words.iter(), &cluster.url());
            if number == missing {
                node.cli(&["ACL", "DELUSER", "wxlogin"]);
            }
        }
        // Of a node that the URL does not name, the library does not tell more.
        let told = ["WRONGPASS", "WRONGPASS", "Password authentication failed"][missing];
        // Not each check needs each node.
        eventually(told, async || fault(&url).await.contains(told)).await;
    }
    let url = allow(&cluster.nodes[2], words.iter(), &cluster.url());
    let store = open(&url);
    store.check().await.unwrap();
    // As a restart does.
    cluster.nodes[0].cli(&["ACL", "DELUSER", "wxlogin"]);
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("WRONGPASS"), "{error}");

    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-node-timeout", "500"]);
    }
    cluster.nodes[2].kill();
    await_until("the others know", || {
        let is_down = |node: &RedisServer| node.cli(&["GET", "x"]).contains("CLUSTERDOWN");
        is_down(&cluster.nodes[0]) && is_down(&cluster.nodes[1])
    });
    let error = fault(&cluster.url()).await;
    assert!(
        error.contains("Redis answered CLUSTERDOWN The cluster is down"),
        "{error}"
    );
}

/// Redis' own words, which name what is wrong; what can be a key or a value is left out.
#[tokio::test]
async fn what_redis_says_is_told_whole_without_keys_and_values() {
    let redis = RedisServer::with(&["--min-replicas-to-write", "1"]);
    let error = fault(&redis.url()).await;
    assert!(
        error.contains("Redis answered NOREPLICAS Not enough good replicas to write."),
        "{error}"
    );
    let redis = RedisServer::with(&["--maxmemory", "1"]);
    let error = fault(&redis.url()).await;
    let words = "Redis answered OOM command not allowed when used memory > 'maxmemory'.";
    assert!(error.contains(words), "{error}");
    let redis = RedisServer::with(&["--rename-command", "ZADD", ""]);
    let error = fault(&redis.url()).await;
    assert!(
        error.contains("Unknown Redis command called from script"),
        "{error}"
    );
    assert!(error.ends_with(" at ZADD"), "{error}");
}
