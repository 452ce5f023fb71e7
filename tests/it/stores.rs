//! What every store promises: one suite over a file, memory, a Redis server and a Redis cluster.

use std::sync::Arc;

use secrecy::SecretBox;
use wxlogin::session::{
    Exchange, ExchangeHash, NewSession, Place, Session, Store, Token, TokenHash,
};

use crate::app::Hands;
use crate::redis_server::{RedisCluster, RedisServer};

const NOW: u64 = 1_800_000_000;

async fn keeps_its_promises(place: &str) {
    let hands = Hands::at(NOW);
    let place: Place = place.parse().unwrap();
    let store = Store::open(&place, hands.clock()).unwrap();
    store.check().await.unwrap();
    a_session_is_found_as_it_was_stored(&store).await;
    an_end_ends_one_session(&store).await;
    many_writes_at_once_are_all_kept(&store).await;
    an_exchange_is_remembered_for_a_minute(&store, &hands).await;
    a_session_dies_at_its_time(&store, &hands).await;
    store.check().await.unwrap();
    store.close().await;
}

fn token() -> TokenHash {
    Token::generate().unwrap().hash()
}

fn session(openid: &str, unionid: Option<&str>) -> Session {
    Session {
        appid: "wx1".into(),
        openid: openid.into(),
        unionid: unionid.map(str::to_owned),
        created: NOW,
        expires: NOW + 1000,
    }
}

fn new(token: TokenHash, session: Session, exchange: Option<u8>) -> NewSession {
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
        assert_eq!((&*found.appid, &*found.openid), ("wx1", openid));
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
    for result in futures_util::future::join_all(writes).await {
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
