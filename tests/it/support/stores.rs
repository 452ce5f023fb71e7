//! Stores without a service.

use std::time::Duration;

use secrecy::ExposeSecret;
use wxlogin::session::{
    Encryption, Exchange, RecentExchange, Session, SessionKey, Settings, Store, Token, UserId,
};

use crate::support::app::{ManualClock, metrics};

pub const NOW: u64 = 1_800_000_000;

/// Opens a store. Returns also the exchanges of the last minute.
pub fn open(place: &str, clock: &ManualClock) -> (Store, Vec<RecentExchange>) {
    let encryption = encryption(&["s1"]);
    Store::open(&settings(place), encryption, metrics(), clock.clock()).unwrap()
}

/// Settings with `SESSION_TTL` 1000 s.
pub fn settings(place: &str) -> Settings {
    Settings {
        url: place.parse().unwrap(),
        ttl: Duration::from_secs(1000),
    }
}

/// A token that no store knows.
pub fn token() -> Token {
    Token::generate(Duration::from_secs(NOW)).unwrap()
}

pub fn user(openid: &str) -> UserId<'_> {
    UserId {
        appid: "wx1",
        openid,
    }
}

pub fn encryption(secrets: &[&str]) -> Encryption {
    let secrets: Vec<_> = secrets.iter().map(|secret| (*secret).into()).collect();
    Encryption::new([("wx1", &secrets[..])]).unwrap()
}

pub fn session(openid: &str, unionid: Option<&str>) -> Session {
    let ttl = Duration::from_secs(1000);
    Session::new(user(openid), unionid.map(str::to_owned), NOW, ttl)
}

/// Stores a session, with a key of 16 such bytes; returns its token.
pub async fn create(store: &Store, session: Session, key: Option<u8>) -> Token {
    let session_key = key.map(|byte| SessionKey::new(Box::new([byte; 16])));
    let exchange = session_key.as_ref().map(|session_key| Exchange {
        code: [session_key.expose_secret()[0]; 32],
        session_key,
    });
    store.create(&session, exchange).await.unwrap()
}

/// The session as it was stored, without the number that its token adds.
pub async fn found(store: &Store, token: &Token) -> Option<Session> {
    let mut session = store.find(token).await.unwrap()?;
    assert_eq!(session.id, token.id());
    session.id = 0;
    Some(session)
}

pub async fn is_there(store: &Store, token: &Token) -> bool {
    store.find(token).await.unwrap().is_some()
}

/// Logs the user in with a key of 16 such bytes.
pub async fn log_in(store: &Store, openid: &str, key: u8) {
    create(store, session(openid, None), Some(key)).await;
}

/// The first byte of each key of the user.
pub async fn keys(store: &Store, openid: &str) -> Vec<u8> {
    let keys = store.keys(user(openid)).await.unwrap();
    keys.iter().map(|key| key.expose_secret()[0]).collect()
}

/// The first byte of the key for signing.
pub async fn newest_key(store: &Store, openid: &str) -> Option<u8> {
    let key = store.newest_key(user(openid)).await.unwrap();
    key.map(|key| key.expose_secret()[0])
}
