//! Keys in the store are encrypted with the `AppSecret`, for one user.

use std::path::Path;
use std::time::Duration;

use wxlogin::clock::Clock;
use wxlogin::session::Store;

use crate::support::app::metrics;

use crate::support::redis_server::RedisServer;
use crate::support::stores::{create, encryption, is_there, keys, log_in, session, settings};

fn open(place: &str, secrets: &[&str]) -> Store {
    let clock = Clock::new(|| Duration::from_secs(1_800_000_000), || Duration::ZERO);
    let store = Store::open(&settings(place), encryption(secrets), metrics(), clock);
    store.unwrap().0
}

fn on_file(path: &Path) -> String {
    format!("file:{}", path.display())
}

#[tokio::test]
async fn a_new_secret_opens_what_it_sealed_and_the_old_one_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    for place in [on_file(&dir.path().join("s.sessions")), redis.url()] {
        let old = open(&place, &["old"]);
        log_in(&old, "oAlice", 1).await;
        log_in(&old, "oAlice", 2).await;
        let kept = create(&old, session("oAlice", None), None).await;
        old.close().await;

        // During the rotation both AppSecrets decrypt. Redis keeps two keys, also if they are the same.
        let both = open(&place, &["new", "old"]);
        assert_eq!(keys(&both, "oAlice").await, [2, 1]);
        log_in(&both, "oAlice", 2).await;
        let both_keys = if both.is_shared() { &[2][..] } else { &[2, 1] };
        assert_eq!(keys(&both, "oAlice").await, both_keys);
        log_in(&both, "oBob", 4).await;
        both.close().await;

        // A replica with the old AppSecret only cannot decrypt it, and does not damage it.
        let old = open(&place, &["old"]);
        assert!(keys(&old, "oBob").await.is_empty());
        old.close().await;

        // It is encrypted with the new one.
        let new = open(&place, &["new"]);
        assert_eq!(keys(&new, "oAlice").await, [2]);
        assert_eq!(keys(&new, "oBob").await, [4]);
        new.close().await;

        let other = open(&place, &["other"]);
        assert!(keys(&other, "oAlice").await.is_empty());
        assert!(is_there(&other, &kept).await);
        log_in(&other, "oAlice", 3).await;
        assert_eq!(keys(&other, "oAlice").await, [3]);
        other.close().await;
    }
}

#[tokio::test]
async fn a_seal_opens_for_its_user_only_and_whole_only() {
    let redis = RedisServer::start();
    let store = open(&redis.url(), &["s"]);
    log_in(&store, "oAlice", 1).await;
    let copy = |change: &str| {
        let script = format!(
            "local seal = redis.call('HGET', KEYS[1], 'newest') \
             redis.call('HSET', KEYS[2], 'newest', {change})"
        );
        let keys = ["wxlogin2:keys:{wx1:oAlice}", "wxlogin2:keys:{wx1:oMallory}"];
        redis.cli(&["-n", "3", "EVAL", &script, "2", keys[0], keys[1]]);
    };
    copy("seal");
    assert!(keys(&store, "oMallory").await.is_empty());
    copy("''");
    assert!(keys(&store, "oMallory").await.is_empty());
    let onto_alice = |change: &str| {
        let script = format!(
            "local seal = redis.call('HGET', KEYS[1], 'kept') \
             redis.call('HSET', KEYS[1], 'newest', {change})"
        );
        let key = "wxlogin2:keys:{wx1:oAlice}";
        redis.cli(&["-n", "3", "EVAL", &script, "1", key]);
    };
    let key = "wxlogin2:keys:{wx1:oAlice}";
    let seal = "redis.call('HSET', KEYS[1], 'kept', redis.call('HGET', KEYS[1], 'newest'))";
    redis.cli(&["-n", "3", "EVAL", seal, "1", key]);
    onto_alice("seal");
    assert_eq!(keys(&store, "oAlice").await, [1]);
    for change in [
        "'\\2'..seal:sub(2)", // another version
        "seal:sub(1, -2)",
        "seal..'x'",
        "seal:sub(1, -2)..'x'",
        "seal:sub(1, 20)..'x'..seal:sub(22)",
        "'\\1'",
    ] {
        onto_alice(change);
        assert!(keys(&store, "oAlice").await.is_empty(), "{change}");
    }
}
