//! The contract of every store: one suite over a file, memory, a Redis server and a Redis cluster.

use std::sync::Arc;

use futures_util::future::join_all;
use wxlogin::session::Store;

use crate::support::app::{ManualClock, metrics};
use crate::support::redis_server::{RedisCluster, RedisServer, Relay};
use crate::support::stores::{
    NOW, create, encryption, found, is_there, keys, log_in, newest_key, open, session, settings,
    token, user,
};
use crate::support::wait::eventually;

async fn keeps_its_promises(place: &str) {
    let clock = ManualClock::at(NOW);
    an_exchange_is_known_to_the_next_process_for_a_minute(place, &clock).await;
    let store = Arc::new(open(place, &clock).0);
    store.check().await.unwrap();
    a_session_is_found_as_it_was_stored(&store).await;
    an_end_ends_one_session(&store).await;
    many_writes_at_once_are_all_kept(&store).await;
    a_write_that_is_given_up_holds_up_no_other(&store).await;
    a_users_two_newest_keys_are_kept(&store).await;
    ten_failures_drop_the_keys_until_the_next_login(&store).await;
    failures_at_once_are_all_counted(&store).await;
    all_sessions_of_a_user_end_together(&store).await;
    all_sessions_end_whatever_the_clock_says(&store, &clock).await;
    the_newest_key_needs_a_living_session(&store).await;
    a_users_keys_end_with_all_sessions(&store).await;
    a_session_dies_at_its_time(&store, &clock).await;
    store.check().await.unwrap();
    store.close().await;
}

async fn a_session_is_found_as_it_was_stored(store: &Store) {
    // No character of an id may change the meaning of a key or a value.
    for (openid, unionid) in [("oAlice", Some("oUnion")), ("o:{a}\"\\*", None)] {
        assert!(!is_there(store, &token()).await);
        let token = create(store, session(openid, unionid), None).await;
        let stored = found(store, &token).await;
        assert_eq!(stored, Some(session(openid, unionid)));
    }
}

async fn an_end_ends_one_session(store: &Store) {
    let alice = session("oAlice", None);
    let ended = create(store, alice.clone(), Some(1)).await;
    let other = create(store, alice.clone(), Some(1)).await;
    for token in [&ended, &ended, &token()] {
        store.end(token, &alice).await.unwrap();
    }
    assert!(!is_there(store, &ended).await);
    assert!(is_there(store, &other).await);
}

async fn many_writes_at_once_are_all_kept(store: &Store) {
    let writes = (0..200).map(|_| create(store, session("oBob", None), Some(2)));
    for token in join_all(writes).await {
        assert!(is_there(store, &token).await);
    }
}

async fn a_write_that_is_given_up_holds_up_no_other(store: &Arc<Store>) {
    let writes = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { create(&store, session("oEve", None), None).await })
    });
    let mut writes: Vec<_> = writes.collect();
    tokio::task::yield_now().await; // all are asked for now
    for given_up in writes.split_off(10) {
        given_up.abort();
    }
    for token in join_all(writes).await {
        assert!(is_there(store, &token.unwrap()).await);
    }
}

async fn an_exchange_is_known_to_the_next_process_for_a_minute(place: &str, clock: &ManualClock) {
    let [code, unknown] = [[3; 32], [4; 32]];
    let (store, recent) = open(place, clock);
    assert!(recent.is_empty());
    assert!(store.exchanged(&code).await.unwrap().is_none());
    let carol = session("oCarol", Some("oUnion"));
    create(&store, carol.clone(), Some(3)).await;
    create(&store, carol.clone(), None).await;
    store.close().await;

    // Redis forgets it by itself.
    let (store, recent) = open(place, clock);
    let shared = store.is_shared().then_some(carol.clone());
    assert_eq!(store.exchanged(&code).await.unwrap(), shared);
    assert!(store.exchanged(&unknown).await.unwrap().is_none());
    store.close().await;
    if !place.starts_with("file:") {
        clock.forward(61);
        return assert!(recent.is_empty());
    }
    for (seconds, known) in [(0, true), (59, true), (2, false)] {
        clock.forward(seconds);
        let (store, recent) = open(place, clock);
        store.close().await;
        let age = clock.clock().now() - NOW;
        let expected = known.then(|| (code, carol.clone()));
        assert!(recent.into_iter().eq(expected), "{age}");
    }
}

async fn a_users_two_newest_keys_are_kept(store: &Store) {
    assert!(keys(store, "oErin").await.is_empty());
    for (key, kept) in [
        (1, &[1][..]),
        (1, &[1]),
        (2, &[2, 1]),
        (3, &[3, 2]),
        (3, &[3, 2]),
    ] {
        log_in(store, "oErin", key).await;
        assert_eq!(keys(store, "oErin").await, kept);
        // A repeat of the same code adds no key.
        create(store, session("oErin", None), None).await;
        assert_eq!(keys(store, "oErin").await, kept);
    }
    assert!(keys(store, "oFrank").await.is_empty());
}

/// Tries the user's keys, as a request does, and counts it if none is `good`.
async fn attempt(store: &Store, openid: &str, good: Option<u8>) -> Option<u8> {
    let keys = keys(store, openid).await;
    let found = keys.into_iter().find(|key| Some(*key) == good);
    if found.is_none() {
        store.count_failure(user(openid)).await.unwrap();
    }
    found
}

async fn ten_failures_drop_the_keys_until_the_next_login(store: &Store) {
    assert_eq!(attempt(store, "oGrace", Some(1)).await, None);
    for _ in 0..2 {
        log_in(store, "oGrace", 1).await;
        assert_eq!(keys(store, "oGrace").await, [1]);
        log_in(store, "oGrace", 2).await;
        for _ in 0..9 {
            assert_eq!(attempt(store, "oGrace", None).await, None);
        }
        for key in [1, 2, 1] {
            assert_eq!(attempt(store, "oGrace", Some(key)).await, Some(key));
        }
        assert_eq!(attempt(store, "oGrace", None).await, None);
        assert_eq!(attempt(store, "oGrace", Some(2)).await, None);
        assert!(keys(store, "oGrace").await.is_empty());
        // A repeat of an earlier code brings no key.
        create(store, session("oGrace", None), None).await;
        assert!(keys(store, "oGrace").await.is_empty());
    }
    // Neither a key that was dropped nor the one before it comes back, also when the next login brings it again.
    for (key, kept) in [(2, &[2][..]), (3, &[3, 2])] {
        log_in(store, "oGrace", key).await;
        assert_eq!(keys(store, "oGrace").await, kept);
    }
}

async fn failures_at_once_are_all_counted(store: &Store) {
    log_in(store, "oHeidi", 1).await;
    log_in(store, "oIvan", 1).await;
    let fail = |count| join_all((0..count).map(|_| attempt(store, "oHeidi", None)));
    fail(9).await;
    assert_eq!(keys(store, "oHeidi").await, [1]);
    fail(1).await;
    assert!(keys(store, "oHeidi").await.is_empty());
    // More than a byte counts.
    fail(300).await;
    assert!(keys(store, "oHeidi").await.is_empty());
    assert_eq!(keys(store, "oIvan").await, [1]);
}

async fn all_sessions_of_a_user_end_together(store: &Store) {
    store.end_all(user("oJudy"), Some(&token())).await.unwrap();
    let mut all_ended = Vec::new();
    for round in 0..2 {
        let first = create(store, session("oJudy", None), Some(1)).await;
        let second = create(store, session("oJudy", None), None).await;
        let others = create(store, session("oJudy2", None), Some(1)).await;
        for token in [&first, &second, &others] {
            assert!(is_there(store, token).await, "{round}");
        }
        store.end_all(user("oJudy"), Some(&first)).await.unwrap();
        all_ended.extend([first, second]);
        for ended in &all_ended {
            assert!(!is_there(store, ended).await, "{round}");
        }
        assert!(is_there(store, &others).await);
    }
    let later = create(store, session("oJudy", None), None).await;
    assert!(is_there(store, &later).await);
    assert!(!is_there(store, &all_ended[0]).await);
}

async fn all_sessions_end_whatever_the_clock_says(store: &Store, clock: &ManualClock) {
    let now = clock.clock().now();
    for wrong in [now + 700_000, 0] {
        let mut tokens = Vec::new();
        for time in [now, wrong, wrong, now, wrong] {
            clock.set_wall(time);
            let mut session = session("oPeggy", None);
            (session.created, session.expires) = (time, time + 1000);
            tokens.push(create(store, session, None).await);
        }
        store.end_all(user("oPeggy"), None).await.unwrap();
        for time in [now, wrong] {
            clock.set_wall(time);
            for token in &tokens {
                assert!(!is_there(store, token).await, "{wrong}");
            }
        }
        clock.set_wall(now);
    }
}

async fn the_newest_key_needs_a_living_session(store: &Store) {
    assert_eq!(newest_key(store, "oOlivia").await, None);
    let first = create(store, session("oOlivia", None), Some(1)).await;
    let second = create(store, session("oOlivia", None), Some(2)).await;
    assert_eq!(newest_key(store, "oOlivia").await, Some(2));
    // The key belongs to the user, not to the session of its login.
    let olivia = session("oOlivia", None);
    store.end(&second, &olivia).await.unwrap();
    assert_eq!(newest_key(store, "oOlivia").await, Some(2));
    store.end(&first, &olivia).await.unwrap();
    assert_eq!(newest_key(store, "oOlivia").await, None);
    create(store, session("oOlivia", None), None).await;
    assert_eq!(newest_key(store, "oOlivia").await, Some(2));

    for _ in 0..10 {
        assert_eq!(attempt(store, "oOlivia", None).await, None);
    }
    assert_eq!(newest_key(store, "oOlivia").await, None, "dropped");
}

async fn a_users_keys_end_with_all_sessions(store: &Store) {
    for round in 1..3 {
        log_in(store, "oQuentin", round).await;
        log_in(store, "oQuentin", round + 10).await;
        log_in(store, "oRupert", round).await;
        store.end_all(user("oQuentin"), None).await.unwrap();
        assert!(keys(store, "oQuentin").await.is_empty(), "{round}");
        assert_eq!(newest_key(store, "oQuentin").await, None, "{round}");
        assert_eq!(keys(store, "oRupert").await[0], round);
        // A repeat of an earlier code restores no key.
        create(store, session("oQuentin", None), None).await;
        assert!(keys(store, "oQuentin").await.is_empty(), "{round}");
    }
    store.end_all(user("oSybil"), None).await.unwrap();
}

#[tokio::test]
async fn an_older_key_does_not_stand_in_for_a_newest_one_that_cannot_be_decrypted() {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    for place in [&file, &redis.url()] {
        for (secret, key, kept) in [
            ("s1", Some(1), Some(1)),
            ("gone", Some(2), Some(2)),
            ("s1", None, None),
        ] {
            let clock = ManualClock::at(NOW).clock();
            let store = Store::open(&settings(place), encryption(&[secret]), metrics(), clock);
            let (store, _) = store.unwrap();
            create(&store, session("oTrent", None), key).await;
            assert_eq!(newest_key(&store, "oTrent").await, kept, "{place}");
            store.close().await;
        }
    }
}

async fn a_session_dies_at_its_time(store: &Store, clock: &ManualClock) {
    let mut dying = session("oDave", None);
    dying.expires = NOW + 101; // 40 s from now
    let token = create(store, dying, Some(5)).await;
    clock.forward(39);
    assert!(is_there(store, &token).await);
    assert_eq!(newest_key(store, "oDave").await, Some(5));
    clock.forward(1);
    assert!(!is_there(store, &token).await);
    // Redis ends sessions by its own clock too, which the test does not move.
    let newest = newest_key(store, "oDave").await;
    assert_eq!(newest.is_some(), store.is_shared());
}

#[tokio::test]
async fn a_file_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    keeps_its_promises(&format!("file:{}", dir.path().join("s.sessions").display())).await;
}

#[tokio::test]
async fn memory_keeps_its_promises() {
    keeps_its_promises("memory:").await;
}

#[tokio::test]
async fn a_redis_server_keeps_its_promises_and_every_key_expires() {
    let redis = RedisServer::start();
    keeps_its_promises(&redis.url()).await;
    let keys = redis.cli(&["-n", "3", "KEYS", "*"]);
    assert!(keys.lines().count() > 200, "{keys}");
    for key in keys
        .lines()
        .take(50)
        .chain(keys.lines().filter(|key| !key.contains(":session:")))
    {
        assert!(key.starts_with("wxlogin2:"), "{key}");
        let ttl: i64 = redis.cli(&["-n", "3", "TTL", key]).trim().parse().unwrap();
        let longest = if key.contains(":exchange:") { 60 } else { 1000 };
        assert!((0..=longest).contains(&ttl), "{key} {ttl}");
    }
    assert_eq!(
        redis.cli(&["KEYS", "*"]).trim(),
        "",
        "another database was used"
    );
}

#[tokio::test]
async fn redis_forgets_the_tokens_of_expired_sessions_at_the_next_login() {
    let redis = RedisServer::start();
    let (store, _) = open(&redis.url(), &ManualClock::at(NOW));
    let mut dying = session("oRupert", None);
    dying.expires = NOW + 1;
    create(&store, session("oRupert", None), None).await;
    let dying = create(&store, dying, None).await;
    let cards = || {
        let list = "wxlogin2:owned:{wx1:oRupert}";
        redis.cli(&["-n", "3", "ZCARD", list]).trim().to_owned()
    };
    assert_eq!(cards(), "2");
    eventually("the session expires", async || {
        !is_there(&store, &dying).await
    })
    .await;
    create(&store, session("oRupert", None), None).await;
    assert_eq!(cards(), "2");
}

/// Proxies of managed clusters refuse a script that names a key in any other way.
#[tokio::test]
async fn each_call_in_a_script_names_its_key_as_an_element_of_keys() {
    let redis = RedisServer::start();
    let relay = Relay::to(&redis).await;
    let url = redis.url();
    let url = url.replace(&redis.port.to_string(), &relay.port.to_string());
    keeps_its_promises(&url).await;
    let sent = relay.sent();
    let calls: Vec<_> = sent.split("redis.call(").skip(1).collect();
    assert!(calls.len() > 1000, "{} calls", calls.len());
    for call in calls {
        let call = call.split(')').next().unwrap();
        let key = call.split(',').nth(1).map(str::trim);
        let is_named = matches!(key, Some("KEYS[1]" | "KEYS[2]"));
        assert!(is_named || call == "'TIME'", "redis.call({call})");
    }
    assert!(!sent.contains("redis.pcall") && !sent.contains("EVALSHA"));
}

#[tokio::test]
async fn a_redis_cluster_keeps_its_promises() {
    let cluster = RedisCluster::start();
    keeps_its_promises(&cluster.url()).await;
    for node in &cluster.nodes {
        let keys: i64 = node.cli(&["DBSIZE"]).trim().parse().unwrap();
        assert!(keys > 20, "a node has {keys} keys");
    }
}

#[tokio::test]
async fn keys_go_with_the_last_session_of_their_user() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    for place in ["memory:", &file] {
        let clock = ManualClock::at(NOW);
        let (store, _) = open(place, &clock);
        log_in(&store, "oMallory", 1).await;
        log_in(&store, "oNiaj", 1).await;
        clock.forward(125);
        let mut later = session("oNiaj", None);
        later.expires = NOW + 1125;
        create(&store, later, Some(2)).await;
        clock.forward(874);
        assert_eq!(keys(&store, "oMallory").await, [1], "{place}");
        assert_eq!(keys(&store, "oNiaj").await, [2, 1], "{place}");
        clock.forward(1);
        store.check().await.unwrap();
        assert!(keys(&store, "oMallory").await.is_empty(), "{place}");
        assert_eq!(keys(&store, "oNiaj").await, [2], "{place}");
        store.close().await;
    }
}
