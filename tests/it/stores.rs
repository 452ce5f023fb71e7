//! What every store promises: one suite over a file, memory, a Redis server and a Redis cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretBox};
use wxlogin::session::{
    Exchange, ExchangeHash, NewSession, Place, Seals, Session, Store, Token, TokenHash, UserId,
};

use crate::app::Hands;
use crate::redis_server::{RedisCluster, RedisServer};

const NOW: u64 = 1_800_000_000;

async fn keeps_its_promises(place: &str) {
    let hands = Hands::at(NOW);
    let place: Place = place.parse().unwrap();
    let store = Store::open(&place, seals(&["s1"]), Arc::default(), hands.clock()).unwrap();
    store.check().await.unwrap();
    a_session_is_found_as_it_was_stored(&store).await;
    an_end_ends_one_session(&store).await;
    many_writes_at_once_are_all_kept(&store).await;
    an_exchange_is_remembered_for_a_minute(&store, &hands).await;
    a_users_two_newest_keys_are_kept(&store).await;
    ten_failures_drop_the_keys_until_the_next_login(&store).await;
    many_attempts_at_once_fail_ten_times_at_most(&store).await;
    good_attempts_at_once_are_all_good(&store).await;
    all_sessions_of_a_user_end_together(&store).await;
    a_session_dies_at_its_time(&store, &hands).await;
    store.check().await.unwrap();
    store.close().await;
}

pub fn token() -> TokenHash {
    Token::generate().unwrap().hash()
}

pub fn user(openid: &str) -> UserId {
    UserId {
        appid: "wx1".into(),
        openid: openid.into(),
    }
}

pub fn seals(secrets: &[&str]) -> Seals {
    let secrets: Vec<_> = secrets.iter().map(|secret| (*secret).into()).collect();
    Seals::new([("wx1", &secrets[..])]).unwrap()
}

pub fn session(openid: &str, unionid: Option<&str>) -> Session {
    Session {
        user: user(openid),
        unionid: unionid.map(str::to_owned),
        created: NOW,
        expires: NOW + 1000,
    }
}

pub fn new(token: TokenHash, session: Session, exchange: Option<u8>) -> NewSession {
    let exchange = exchange.map(|byte| Exchange {
        hash: ExchangeHash([byte; 32]),
        session_key: Arc::new(SecretBox::new(Box::new([byte; 16]))),
    });
    NewSession {
        token,
        session,
        exchange,
    }
}

async fn a_session_is_found_as_it_was_stored(store: &Store) {
    // Nothing in an id may confuse a key or a value.
    for (openid, unionid) in [("oAlice", Some("oUnion")), ("o:{a}\"\\*", None)] {
        let token = token();
        assert!(store.find(token).await.unwrap().is_none());
        store
            .create(new(token, session(openid, unionid), None))
            .await
            .unwrap();
        let found = store.find(token).await.unwrap().unwrap();
        assert!(found.user == user(openid));
        assert_eq!(found.unionid.as_deref(), unionid);
        assert_eq!((found.created, found.expires), (NOW, NOW + 1000));
    }
}

async fn an_end_ends_one_session(store: &Store) {
    let [ended, other] = [token(), token()];
    for token in [ended, other] {
        store
            .create(new(token, session("oAlice", None), Some(1)))
            .await
            .unwrap();
    }
    store.end(ended).await.unwrap();
    store.end(ended).await.unwrap();
    store.end(token()).await.unwrap();
    assert!(store.find(ended).await.unwrap().is_none());
    assert!(store.find(other).await.unwrap().is_some());
}

async fn many_writes_at_once_are_all_kept(store: &Store) {
    let tokens: Vec<_> = (0..200).map(|_| token()).collect();
    let writes = tokens
        .iter()
        .map(|token| store.create(new(*token, session("oBob", None), Some(2))));
    for result in join_all(writes).await {
        result.unwrap();
    }
    for token in tokens {
        assert!(store.find(token).await.unwrap().is_some());
    }
}

async fn an_exchange_is_remembered_for_a_minute(store: &Store, hands: &Hands) {
    let hash = ExchangeHash([3; 32]);
    assert!(store.exchanged(hash).await.unwrap().is_none());
    let session = session("oCarol", Some("oUnion"));
    store.create(new(token(), session, Some(3))).await.unwrap();
    let user = store.exchanged(hash).await.unwrap().unwrap();
    assert_eq!(
        (&*user.openid, user.unionid.as_deref()),
        ("oCarol", Some("oUnion"))
    );
    assert!(
        store
            .exchanged(ExchangeHash([4; 32]))
            .await
            .unwrap()
            .is_none()
    );
    hands.forward(59);
    assert!(store.exchanged(hash).await.unwrap().is_some());
    hands.forward(1);
    assert!(store.exchanged(hash).await.unwrap().is_none());
}

/// Logs the user in with a key of 16 such bytes.
pub async fn log_in(store: &Store, openid: &str, key: u8) {
    let session = session(openid, None);
    store
        .create(new(token(), session, Some(key)))
        .await
        .unwrap();
}

/// The first byte of each key of the user.
pub async fn keys(store: &Store, openid: &str) -> Vec<u8> {
    let keys = store.keys(&user(openid)).await.unwrap();
    keys.iter().map(|key| key.expose_secret()[0]).collect()
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
        // A repeat of the same code brings no key.
        let repeat = new(token(), session("oErin", None), None);
        store.create(repeat).await.unwrap();
        assert_eq!(keys(store, "oErin").await, kept);
    }
    assert!(keys(store, "oFrank").await.is_empty());
}

async fn attempt(store: &Store, openid: &str, good: Option<u8>) -> Option<u8> {
    let open = move |key: &[u8; 16]| Some(key[0]).filter(|key| Some(*key) == good);
    store.try_keys(&user(openid), open).await.unwrap()
}

async fn ten_failures_drop_the_keys_until_the_next_login(store: &Store) {
    assert_eq!(attempt(store, "oGrace", Some(1)).await, None);
    for _ in 0..2 {
        log_in(store, "oGrace", 1).await;
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
    }
    log_in(store, "oGrace", 3).await;
    assert_eq!(keys(store, "oGrace").await, [3]);
}

async fn many_attempts_at_once_fail_ten_times_at_most(store: &Store) {
    log_in(store, "oHeidi", 1).await;
    let tried = Arc::new(AtomicUsize::new(0));
    let attempts = (0..100).map(|_| async {
        let tried = tried.clone();
        let fail = move |_: &[u8; 16]| {
            tried.fetch_add(1, Ordering::SeqCst);
            None::<()>
        };
        let user = user("oHeidi");
        assert!(store.try_keys(&user, fail).await.unwrap().is_none());
    });
    join_all(attempts).await;
    assert_eq!(tried.load(Ordering::SeqCst), 10);
}

async fn good_attempts_at_once_are_all_good(store: &Store) {
    log_in(store, "oIvan", 1).await;
    for opened in join_all((0..50).map(|_| attempt(store, "oIvan", Some(1)))).await {
        assert_eq!(opened, Some(1));
    }
}

async fn all_sessions_of_a_user_end_together(store: &Store) {
    let [first, second, third, others] = [token(), token(), token(), token()];
    store.end_all(&user("oJudy"), token()).await.unwrap();
    for round in 0..2 {
        for (token, openid, exchange) in [
            (first, "oJudy", Some(1)),
            (second, "oJudy", None),
            (others, "oJudy2", Some(1)),
        ] {
            let new = new(token, session(openid, None), exchange);
            store.create(new).await.unwrap();
            assert!(store.find(token).await.unwrap().is_some(), "{round}");
        }
        store.end_all(&user("oJudy"), first).await.unwrap();
        for ended in [first, second] {
            assert!(store.find(ended).await.unwrap().is_none(), "{round}");
        }
        assert!(store.find(others).await.unwrap().is_some());
    }
    let later = new(third, session("oJudy", None), None);
    store.create(later).await.unwrap();
    assert!(store.find(third).await.unwrap().is_some());
    assert!(store.find(first).await.unwrap().is_none());
}

async fn a_session_dies_at_its_time(store: &Store, hands: &Hands) {
    let token = token();
    let mut dying = session("oDave", None);
    dying.expires = NOW + 100; // 40 s from now
    store.create(new(token, dying, Some(5))).await.unwrap();
    hands.forward(39);
    assert!(store.find(token).await.unwrap().is_some());
    hands.forward(1);
    assert!(store.find(token).await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    keeps_its_promises(&format!("file:{}", dir.path().join("s.redb").display())).await;
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
        assert!(key.starts_with("wxlogin:"), "{key}");
        let ttl: i64 = redis.cli(&["-n", "3", "TTL", key]).trim().parse().unwrap();
        assert!((0..=1000).contains(&ttl), "{key} {ttl}");
    }
    assert_eq!(
        redis.cli(&["KEYS", "*"]).trim(),
        "",
        "another database was used"
    );
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
    let file = format!("file:{}", dir.path().join("s.redb").display());
    for place in ["memory:", &file] {
        let hands = Hands::at(NOW);
        let place: Place = place.parse().unwrap();
        let store = Store::open(&place, seals(&["s1"]), Arc::default(), hands.clock()).unwrap();
        log_in(&store, "oMallory", 1).await;
        hands.forward(500);
        let mut later = session("oNiaj", None);
        later.expires = NOW + 2000;
        log_in(&store, "oNiaj", 1).await;
        let second = new(token(), later, Some(2));
        store.create(second).await.unwrap();
        hands.forward(500);
        assert!(!keys(&store, "oMallory").await.is_empty(), "{place:?}");
        // Later logins take with them what expired.
        let logins = (0..2000).map(|_| {
            let mut session = session("oOlivia", None);
            session.expires = NOW + 3000;
            store.create(new(token(), session, Some(3)))
        });
        for result in join_all(logins).await {
            result.unwrap();
        }
        assert!(keys(&store, "oMallory").await.is_empty(), "{place:?}");
        assert_eq!(keys(&store, "oNiaj").await, [2, 1], "{place:?}");
        store.close().await;
    }
}
