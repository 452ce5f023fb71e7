//! The store of one process: what is found in all buckets, what a crash leaves, what is deleted and overwritten when,
//! and what a changed byte does.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::join_all;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime;
use wxlogin::session::{Encryption, Exchange, Session, SessionKey, Store, Token, UserId};

use crate::support::app::{ManualClock, TestApp, metrics};
use crate::support::stores::{
    create, encryption, found, is_there, keys, log_in, newest_key, session, settings, user,
};
use crate::support::wait::eventually;

const NOW: u64 = 1_800_000_000;

/// A store in files, open or not, and its clock.
struct Place {
    dir: TempDir,
    clock: ManualClock,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(NOW);
        Self { dir, clock }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s.sessions")
    }

    fn open(&self) -> Store {
        let url = format!("file:{}", self.path().display());
        crate::support::stores::open(&url, &self.clock).0
    }

    /// SQLite on the same file, also while the store is open.
    fn sql(&self) -> Connection {
        Connection::open(self.path().join("sessions.sqlite")).unwrap()
    }

    /// What a query for a number gives.
    fn number(&self, sql: &str) -> i64 {
        self.sql().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn rows(&self) -> i64 {
        self.number("SELECT count(*) FROM session")
    }

    /// Bytes of the database.
    fn size(&self) -> u64 {
        fs::metadata(self.path().join("sessions.sqlite"))
            .unwrap()
            .len()
    }

    /// As if so many others had logged in.
    fn others_log_in(&self, logins: u32) {
        let sql =
            "UPDATE session SET login = login + ? WHERE login = (SELECT max(login) FROM session)";
        self.sql().execute(sql, [logins]).unwrap();
    }

    /// What a crash leaves at this instant.
    fn crash(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(copy.path()).unwrap();
        for entry in fs::read_dir(self.path()).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
        }
        copy
    }
}

/// A user with tokens, and the keys that are to be found.
struct Expected {
    openid: String,
    tokens: Vec<Token>,
    keys: Vec<u8>,
}

/// Logs users in, some much more often than others, in six buckets.
async fn populate(place: &Place) -> Vec<Expected> {
    let expected = |user: u8| Expected {
        openid: format!("o{user}"),
        tokens: Vec::new(),
        keys: if user.is_multiple_of(6) {
            vec![5, 4]
        } else {
            vec![user % 6]
        },
    };
    let mut users: Vec<_> = (0..120).map(expected).collect();
    for bucket in 0..6 {
        let store = place.open();
        for (number, user) in users.iter_mut().enumerate() {
            if number % 6 == 0 || user.keys == [bucket] {
                let logins = if number % 60 == 0 { 20 } else { 1 };
                let logins =
                    (0..logins).map(|_| create(&store, session(&user.openid, None), Some(bucket)));
                user.tokens.extend(join_all(logins).await);
            }
        }
        store.close().await;
        place.others_log_in(8_192);
    }
    users
}

async fn check(store: &Store, users: &[Expected]) {
    for user in users {
        for token in &user.tokens {
            let expected = session(&user.openid, None);
            assert_eq!(found(store, token).await, Some(expected));
        }
        assert_eq!(
            keys(store, &user.openid).await,
            user.keys,
            "{}",
            user.openid
        );
        assert_eq!(newest_key(store, &user.openid).await, Some(user.keys[0]));
    }
    assert!(keys(store, "oNobody").await.is_empty());
}

#[tokio::test]
async fn sessions_and_keys_are_found_in_all_buckets_also_after_a_stop_and_a_crash() {
    let place = Place::new();
    let mut users = populate(&place).await;
    let store = place.open();
    let last = create(&store, session("oLast", None), None).await;
    check(&store, &users).await;
    assert!(place.number("SELECT max(bucket) FROM session") >= 5);
    let crashed = place.crash();
    store.close().await;
    let ended = users.remove(0);
    for place in [&place, &crashed] {
        let store = place.open();
        check(&store, &users).await;
        let Expected { openid, tokens, .. } = &ended;
        store.end_all(user(openid), Some(&tokens[0])).await.unwrap();
        store.close().await;
        let store = place.open();
        for token in tokens {
            assert!(!is_there(&store, token).await);
        }
        assert!(keys(&store, openid).await.is_empty());
        check(&store, &users).await;
        assert!(is_there(&store, &last).await);
        store.close().await;
    }
}

#[tokio::test]
async fn a_bucket_that_is_full_is_followed_by_another() {
    let place = Place::new();
    let store = place.open();
    log_in(&store, "oAlice", 1).await;
    for _ in 0..9 {
        let others = (0..1000).map(|other| format!("o{other}"));
        let logins = others.map(async |other| create(&store, session(&other, None), None).await);
        join_all(logins).await;
    }
    log_in(&store, "oAlice", 2).await;
    // Where an id was taken, a login has another number.
    let first = place.number("SELECT count(*) FROM session WHERE bucket = 0");
    assert!((8150..8192).contains(&first), "{first}");
    assert_eq!(keys(&store, "oAlice").await, [2, 1]);
    store.end_all(user("oAlice"), None).await.unwrap();
    assert!(keys(&store, "oAlice").await.is_empty());
    assert_eq!(place.rows(), 9000);
    store.close().await;
}

/// A session from now on for 1000 s.
fn from_now(openid: &str, clock: &ManualClock) -> Session {
    let ttl = Duration::from_secs(1000);
    Session::new(user(openid), None, clock.clock().now(), ttl)
}

#[tokio::test]
async fn what_has_expired_is_deleted_after_an_hour_and_its_space_is_used_again() {
    let place = Place::new();
    let (store, clock) = (place.open(), &place.clock);
    let (mut tokens, mut largest) = (Vec::new(), [0; 2]);
    for round in 0..400_u32 {
        for login in 0..10 {
            let session = from_now(&format!("o{login}"), clock);
            let expires = session.expires;
            let key = u8::try_from(round % 250).unwrap();
            tokens.push((create(&store, session, Some(key)).await, expires));
        }
        clock.forward(50);
        let half = &mut largest[usize::from(round >= 200)];
        *half = place.size().max(*half);
    }
    // 1000 s and an hour, ten rows every 50 s.
    let rows = place.rows();
    assert!((200..=1000).contains(&rows), "{rows} rows");
    assert!(largest[1] <= largest[0] * 5 / 4, "{largest:?} bytes");
    for (token, expires) in &tokens {
        assert_eq!(
            is_there(&store, token).await,
            clock.clock().now() < *expires
        );
    }
    assert_eq!(keys(&store, "o3").await, [149, 148]);
    clock.forward(1000);
    assert!(keys(&store, "o3").await.is_empty());
    store.close().await;
}

#[tokio::test]
async fn an_idle_store_deletes_what_has_expired_and_gives_its_space_back() {
    let place = Place::new();
    let clock = &place.clock;
    let store = place.open();
    for round in 0..10 {
        let logins = (0..1000).map(|_| create(&store, session("oSecret", None), Some(round)));
        join_all(logins).await;
    }
    store.close().await;
    let full = place.size();
    let store = place.open();
    clock.forward(1000 + 3599);
    tokio::time::sleep(Duration::from_millis(1500)).await; // for what must not happen
    assert_eq!(place.rows(), 10_000);
    clock.forward(11);
    eventually("expired rows stay", async || place.rows() == 0).await;
    let free = || place.number("PRAGMA freelist_count");
    eventually("the space stays", async || free() < 1100).await;
    create(&store, from_now("oAlice", clock), Some(1)).await;
    assert_eq!(keys(&store, "oAlice").await, [1]);
    store.close().await;
    assert!(place.size() <= full, "{} of {full}", place.size());
    assert_eq!(
        places_of(&place, "oSecret"),
        0,
        "an openid can still be read"
    );
}

/// How often a text is in the database.
fn places_of(place: &Place, text: &str) -> usize {
    let bytes = fs::read(place.path().join("sessions.sqlite")).unwrap();
    let windows = bytes.windows(text.len());
    windows.filter(|window| *window == text.as_bytes()).count()
}

#[tokio::test]
async fn a_clock_that_is_wrong_deletes_nothing() {
    let place = Place::new();
    let (mut store, clock) = (place.open(), &place.clock);
    clock.forward(400);
    let token = create(&store, session("oAlice", None), Some(1)).await;
    // Under load, when idle, and at a start.
    for wrong in [NOW + 8 * 86400, NOW + 9 * 86400] {
        clock.set_wall(wrong);
        for login in 0..50 {
            create(&store, from_now("oBob", clock), Some(login)).await;
            assert!(!is_there(&store, &token).await);
        }
        tokio::time::sleep(Duration::from_millis(2100)).await;
        clock.forward(290);
        store.check().await.unwrap();
        clock.set_wall(NOW + 500);
        store.check().await.unwrap();
        assert!(is_there(&store, &token).await);
        assert_eq!(keys(&store, "oAlice").await, [1]);
    }
    store.close().await;
    clock.set_wall(NOW + 8 * 86400);
    store = place.open();
    create(&store, from_now("oBob", clock), Some(1)).await;
    store.close().await;
    clock.set_wall(NOW + 500);
    store = place.open();
    assert!(is_there(&store, &token).await);
    // Once the clock has been right for some minutes, what has expired goes.
    clock.forward(4700);
    let alices = || place.number("SELECT count(*) FROM session WHERE openid = 'oAlice'");
    eventually("expired sessions stay", async || alices() == 0).await;
    store.close().await;
}

#[tokio::test]
async fn what_has_expired_goes_whatever_many_sessions_before_it_do() {
    let place = Place::new();
    let (store, clock) = (place.open(), &place.clock);
    let mut long = session("oLong", None);
    long.expires = NOW + 1_000_000;
    let long = join_all((0..500).map(|_| create(&store, long.clone(), Some(1)))).await;
    clock.forward(10);
    let short = (0..500).map(|_| create(&store, session("oShort", None), Some(1)));
    join_all(short).await;
    clock.forward(1000 + 3600);
    eventually("expired sessions stay", async || place.rows() == 500).await;
    // The table is looked through again an hour later.
    create(&store, from_now("oLate", clock), Some(1)).await;
    clock.forward(1000);
    eventually("an expired session stays", async || {
        clock.forward(3605);
        place.rows() == 500
    })
    .await;
    for token in &long {
        assert!(is_there(&store, token).await);
    }
    store.close().await;
}

#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing_and_the_newest_key_stays_the_newest() {
    let place = Place::new();
    let users = populate(&place).await;
    place.clock.set_wall(NOW - 500);
    let store = place.open();
    check(&store, &users).await;
    let early = create(&store, from_now("oEarly", &place.clock), Some(1)).await;
    // "o0" has the keys 5 and 4.
    create(&store, from_now("o0", &place.clock), Some(9)).await;
    assert_eq!(keys(&store, "o0").await, [9, 5]);
    assert_eq!(newest_key(&store, "o0").await, Some(9));
    store.close().await;
    place.clock.set_wall(NOW);
    let store = place.open();
    assert!(is_there(&store, &early).await);
    assert_eq!(newest_key(&store, "o0").await, Some(9));
    check(&store, &users[1..]).await;
    store.close().await;
}

#[tokio::test]
async fn the_bytes_of_an_erased_user_are_gone_from_the_database() {
    let place = Place::new();
    let store = Arc::new(place.open());
    // Logins of different sizes at once, so that SQLite moves rows between pages.
    let clients = (0..64_u32).map(|client| {
        let store = store.clone();
        tokio::spawn(async move {
            for login in 0..40 {
                let openid = format!("o{:05}", client * 40 + login);
                let unionid = (login % 3 == 0).then(|| format!("oUnion-{openid}"));
                let key = (login % 5 > 0).then_some(1);
                create(&store, session(&openid, unionid.as_deref()), key).await;
            }
        })
    });
    join_all(clients).await;
    let openid = |number: u32| format!("o{number:05}");
    let erased = || (0..2560).step_by(16).map(openid);
    for openid in erased() {
        store.end_all(user(&openid), None).await.unwrap();
    }
    let kept = openid(1);
    assert_eq!(keys(&store, &kept).await, [1]);
    assert_eq!(place.rows(), 2560 - 160);
    let log = || {
        fs::metadata(place.path().join("sessions.sqlite-wal"))
            .unwrap()
            .len()
    };
    eventually("an idle store does not empty its log", async || log() == 0).await;
    let left: Vec<_> = erased()
        .filter(|openid| places_of(&place, openid) > 0)
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(places_of(&place, &kept) > 0);
    store.close().await;
}

/// The copy of an idle store without its log has all sessions.
#[tokio::test]
async fn an_idle_store_does_not_need_its_write_ahead_log() {
    let place = Place::new();
    let store = place.open();
    let token = create(&store, session("oAlice", None), Some(1)).await;
    let log = || {
        fs::metadata(place.path().join("sessions.sqlite-wal"))
            .unwrap()
            .len()
    };
    assert!(log() > 0);
    eventually("the log stays", async || log() == 0).await;
    let copy = place.crash();
    fs::remove_file(copy.path().join("sessions.sqlite-wal")).unwrap();
    store.close().await;
    let store = copy.open();
    assert!(is_there(&store, &token).await);
    assert_eq!(keys(&store, "oAlice").await, [1]);
    store.close().await;
}

#[tokio::test]
async fn damage_that_only_a_login_meets_is_told_too() {
    let place = Place::new();
    let store = place.open();
    let openids: Vec<_> = (0..300).map(|user| format!("o{user}")).collect();
    let logins = openids.iter();
    join_all(logins.map(|openid| create(&store, session(openid, None), Some(1)))).await;
    let log = place.path().join("sessions.sqlite-wal");
    let is_empty = || fs::metadata(&log).unwrap().len() == 0;
    eventually("the log stays", async || is_empty()).await;
    let file = place.path().join("sessions.sqlite");
    let mut bytes = fs::read(&file).unwrap();
    for page in bytes.chunks_mut(4096) {
        // The leaves of the table and of its index.
        if matches!(page[0], 0x0a | 0x0d) {
            page.fill(0xff);
        }
    }
    fs::write(&file, bytes).unwrap();
    // A commit of another connection, after which the writer reads again.
    place
        .sql()
        .execute_batch("PRAGMA user_version = 2")
        .unwrap();
    assert!(store.create(&session("oLate", None), None).await.is_err());
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("it is damaged"), "{error}");
    store.close().await;
}

#[tokio::test]
async fn a_changed_bit_is_no_session_rather_than_another_users() {
    let place = Place::new();
    let store = place.open();
    let alice = session("oAlice", Some("oUnion"));
    let token = create(&store, alice.clone(), Some(1)).await;
    let id = place.number("SELECT id FROM session");
    let sql = place.sql();
    for (column, kind) in [
        ("token", "BLOB"),
        ("appid", "TEXT"),
        ("openid", "TEXT"),
        ("unionid", "TEXT"),
        ("expires", "INTEGER"),
    ] {
        let value = format!("SELECT CAST({column} AS BLOB) FROM session");
        let good: Vec<u8> = sql.query_row(&value, [], |row| row.get(0)).unwrap();
        let set = format!("UPDATE session SET {column} = CAST(? AS {kind}) WHERE id = ?");
        for bit in 0..good.len() * 8 {
            let mut changed = good.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            sql.execute(&set, (&changed, id)).unwrap();
            assert!(!is_there(&store, &token).await, "{column} {bit}");
        }
        sql.execute(&set, (&good, id)).unwrap();
        assert_eq!(found(&store, &token).await, Some(alice.clone()));
    }
    sql.execute("UPDATE session SET unionid = NULL", [])
        .unwrap();
    assert!(!is_there(&store, &token).await);
    drop(sql);
    store.close().await;
}

/// Each byte of the file, while no process has it.
#[tokio::test]
async fn a_changed_byte_of_the_file_is_no_other_session() {
    let place = Place::new();
    let store = place.open();
    let alice = session("oAlice", Some("oUnion"));
    let token = create(&store, alice.clone(), Some(1)).await;
    store.close().await;
    let file = place.path().join("sessions.sqlite");
    let good = fs::read(&file).unwrap();
    let at = |text: &str| {
        let mut windows = good.windows(text.len());
        windows
            .position(|window| window == text.as_bytes())
            .unwrap()
    };
    // The row: its header, and the columns from the token to the expiry.
    let row = at("oAlice") - 60..at("oUnion") + 16;
    for place_of_byte in row {
        let mut changed = good.clone();
        changed[place_of_byte] ^= 1 << (place_of_byte % 8);
        fs::write(&file, changed).unwrap();
        let url = format!("file:{}", place.path().display());
        let opened = Store::open(
            &settings(&url),
            encryption(&["s1"]),
            metrics(),
            place.clock.clock(),
        );
        if let Ok((store, _)) = opened {
            // A changed `created` is not noticed.
            let found = store.find(&token).await.ok().flatten();
            assert!(
                found.is_none_or(
                    |found| found.user() == alice.user() && found.expires == alice.expires
                ),
                "{place_of_byte}"
            );
            store.close().await;
        }
        let _ = fs::remove_file(place.path().join("sessions.sqlite-wal"));
    }
}

#[tokio::test]
async fn an_id_that_is_taken_fails_alone() {
    let place = Place::new();
    let store = place.open();
    // As if each id that is tried for this user were taken.
    let taken = "CREATE TRIGGER taken BEFORE INSERT ON session WHEN NEW.openid = 'oTaken'
        BEGIN SELECT RAISE(IGNORE); END";
    place.sql().execute_batch(taken).unwrap();
    let taken = session("oTaken", None);
    let logins = (0..20).map(|_| create(&store, session("oAlice", None), Some(1)));
    let (taken, tokens) = tokio::join!(store.create(&taken, None), join_all(logins));
    assert!(taken.unwrap_err().to_string().contains("no free id"));
    for token in &tokens {
        assert!(is_there(&store, token).await);
    }
    assert_eq!(place.rows(), 20);
    store.close().await;
}

#[tokio::test]
async fn only_the_whole_token_is_good_for_a_session() {
    let app = TestApp::start().await;
    let [one, other] = [
        app.client.token("user-alice").await,
        app.client.token("user-bob").await,
    ];
    let bytes = |token: &str| URL_SAFE_NO_PAD.decode(&token[4..]).unwrap();
    let text = |id: &[u8], verifier: &[u8]| {
        let bytes = [id, verifier].concat();
        format!("wxs_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let (one, other) = (bytes(&one), bytes(&other));
    let good = text(&one[..8], &one[8..]);
    app.client.session(&good).await.assert_status(200);
    let mut wrong = vec![
        text(&other[..8], &one[8..]),
        text(&one[..8], &other[8..]),
        text(&[0; 8], &one[8..]),
        text(&[255; 8], &one[8..]),
        crate::support::stores::token().to_text(),
    ];
    for bit in 0..256 {
        let mut changed = one.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        wrong.push(text(&changed[..8], &changed[8..]));
    }
    for token in wrong {
        let answer = app.client.session(&token).await;
        answer.assert_problem(401, "invalid_token", "login_again");
    }
}

/// Its holder knows when he logged in.
#[tokio::test]
async fn a_token_tells_the_time_of_the_login_and_nothing_else() {
    let (store, _) = crate::support::stores::open("memory:", &ManualClock::at(NOW));
    let mut last = Vec::new();
    let mut differing = 0;
    for _ in 0..100 {
        let token = create(&store, session("oAlice", None), None).await;
        let bytes = URL_SAFE_NO_PAD.decode(&token.to_text()[4..]).unwrap();
        let ticks = (NOW - 1_577_836_800) * 256;
        assert_eq!(bytes[..5], ticks.to_be_bytes()[3..]);
        let bits = bytes[5..]
            .iter()
            .zip(&last)
            .map(|(a, b): (&u8, &u8)| (a ^ b).count_ones());
        differing += bits.sum::<u32>();
        last = bytes[5..].to_vec();
    }
    // Half of 21,384, as of random bytes.
    assert!((10_200..11_200).contains(&differing), "{differing}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_session_comes_back_as_it_was(
        appid in "[!-~]{1,128}",
        openid in "[!-~]{1,128}",
        unionid in proptest::option::of("[!-~]{1,128}"),
        created in 0..1_u64 << 62,
        is_first in any::<bool>(),
    ) {
        let place = Place::new();
        let user = UserId { appid: &appid, openid: &openid };
        let secrets = ["s1".into()];
        for url in ["memory:".to_owned(), format!("file:{}", place.path().display())] {
            let encryption = Encryption::new([(&*appid, &secrets[..])]).unwrap();
            let clock = ManualClock::at(created).clock();
            let (store, _) = Store::open(&settings(&url), encryption, metrics(), clock).unwrap();
            let ttl = Duration::from_secs((1 << 62) - created);
            let session = Session::new(user, unionid.clone(), created, ttl);
            let session_key = SessionKey::new(Box::new([7; 16]));
            let exchange = Exchange { code: [7; 32], session_key: &session_key };
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (found, keys) = runtime.block_on(async {
                let token = store.create(&session, is_first.then_some(exchange)).await.unwrap();
                let found = found(&store, &token).await;
                let keys = store.keys(user).await.unwrap().len();
                store.close().await;
                (found, keys)
            });
            prop_assert_eq!(found, Some(session));
            prop_assert_eq!(keys, usize::from(is_first));
        }
    }
}

#[tokio::test]
async fn a_write_that_is_not_polled_delays_no_other() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let mut unpolled = Vec::new();
    for _ in 0..20 {
        let begin = || {
            let store = store.clone();
            let mut write = Box::pin(async move { store.check().await });
            assert!((&mut write).now_or_never().is_none());
            write
        };
        // In one commit: the first, the last, and those between.
        unpolled.push(begin());
        let logins = (0..3).map(|key| create(&store, session("oAlice", None), Some(key)));
        let mut logins = Box::pin(join_all(logins));
        assert!((&mut logins).now_or_never().is_none());
        unpolled.push(begin());
        let done = tokio::time::timeout(Duration::from_secs(3), logins).await;
        done.expect("logins wait for a future that is not polled");
    }
    for write in unpolled {
        write.await.unwrap();
    }
    store.close().await;
}

#[test]
fn writes_are_answered_in_each_runtime_also_when_others_have_ended() {
    let place = Place::new();
    let runtime = || {
        runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (one, other) = (runtime(), runtime());
    let store = one.block_on(async { place.open() });
    let check = |runtime: &runtime::Runtime| runtime.block_on(store.check()).unwrap();
    for runtime in [&one, &other, &one] {
        check(runtime);
    }
    drop(one);
    check(&other);
    drop(other);
    for _ in 0..3 {
        // A thread that takes the place of the one before.
        std::thread::scope(|threads| {
            threads.spawn(|| check(&runtime()));
        });
    }
    runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(store.close());
}

#[tokio::test]
async fn a_close_waits_for_a_full_queue() {
    let place = Place::new();
    let store = place.open();
    // Holds up the thread that writes.
    let other = place.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // What finds no room is refused at once.
    let is_full = (0..20_000).any(|_| matches!(store.check().now_or_never(), Some(Err(_))));
    assert!(is_full, "writes wait without a limit");
    let release = async { other.execute_batch("ROLLBACK").unwrap() };
    tokio::join!(store.close(), release);
    drop(other);
    place.open().close().await;
}

#[tokio::test]
async fn a_closed_store_answers_with_an_error_in_each_thread() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let token = create(&store, session("oAlice", None), Some(1)).await;
    let read = || {
        let (store, token) = (store.clone(), Token::parse(&token.to_text()).unwrap());
        std::thread::spawn(move || store.find(&token).now_or_never().unwrap())
    };
    assert!(read().join().unwrap().unwrap().is_some());
    store.close().await;
    store.close().await;
    assert!(read().join().unwrap().is_err());
    assert!(store.find(&token).await.is_err());
    assert!(store.keys(user("oAlice")).await.is_err());
    assert!(store.check().await.is_err());
    // Nothing is left open.
    fs::remove_dir_all(place.path()).unwrap();
    place.open().close().await;
}
