//! The store of one process: what is found in all slices, what a crash leaves, what is deleted when, and
//! what a token tells.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::join_all;
use proptest::prelude::*;
use rusqlite::Connection;
use wxlogin::session::{ExchangeHash, Session, Store, Token, TokenId, UserId};

use crate::app::{ManualClock, TestApp, metrics};
use crate::stores::{create, encryption, keys, log_in, new, session, settings, token, user};

const NOW: u64 = 1_800_000_000;

/// With slices of so many seconds.
fn open(place: &str, slice: u64, clock: &ManualClock) -> Store {
    let mut settings = settings(place);
    settings.ttl = Duration::from_secs(8 * slice);
    let encryption = encryption(&["s1"]);
    Store::open(&settings, encryption, metrics(), clock.clock()).unwrap()
}

fn on_file(path: &Path) -> String {
    format!("file:{}", path.display())
}

async fn is_there(store: &Store, token: TokenId) -> bool {
    store.find(token).await.unwrap().is_some()
}

/// What a query for a number gives, also while the store is open.
fn number(path: &Path, sql: &str) -> i64 {
    let db = Connection::open(path.join("sessions.sqlite")).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn slices(path: &Path) -> i64 {
    number(path, "SELECT count(*) FROM slice")
}

/// Rows in all tables but that of the mask.
fn rows(path: &Path) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM session) + (SELECT count(*) FROM user_session)
        + (SELECT count(*) FROM slice)";
    number(path, sql)
}

/// What a crash leaves at this instant.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
}

/// Logs many users in, some much more often than others, in six slices of 10 s, and says what to expect.
async fn populate(store: &Store, clock: &ManualClock, users: u32) -> Vec<(String, Vec<TokenId>)> {
    let mut all = Vec::new();
    for number in 0..users {
        let often = match number % 100 {
            0 => 40,
            1 => 3,
            _ => 1,
        };
        let openid = format!("o{number}");
        let logins = (0..often).map(|key| create(store, session(&openid, None), Some(key)));
        let mut tokens = join_all(logins).await;
        if number % (users / 6) == 1 {
            clock.forward(10);
            tokens.push(create(store, session(&openid, None), Some(often)).await);
        }
        all.push((openid.clone(), tokens));
    }
    all
}

async fn check(store: &Store, all: &[(String, Vec<TokenId>)]) {
    for (openid, tokens) in all {
        for token in tokens {
            let found = store.find(*token).await.unwrap().unwrap();
            assert!(found.user == user(openid));
        }
        let newest = u8::try_from(tokens.len() - 1).unwrap();
        let expected: Vec<u8> = (newest.saturating_sub(1)..=newest).rev().collect();
        assert_eq!(keys(store, openid).await, expected, "{openid}");
    }
    assert!(keys(store, "oNobody").await.is_empty());
}

#[tokio::test]
async fn sessions_and_keys_are_found_in_all_slices_also_after_a_stop_and_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let crashed = dir.path().join("crashed.sessions");
    let clock = ManualClock::at(NOW);
    let store = open(&on_file(&path), 10, &clock);
    let mut all = populate(&store, &clock, 600).await;
    check(&store, &all).await;
    copy(&path, &crashed);
    store.close().await;
    assert_eq!(slices(&path), 7);

    for path in [&path, &crashed] {
        let store = open(&on_file(path), 10, &clock);
        check(&store, &all).await;
        let (openid, tokens) = &all[0];
        store.end_all(&user(openid), tokens[0]).await.unwrap();
        store.close().await;
    }
    let (openid, ended) = all.remove(0);
    for path in [&path, &crashed] {
        let store = open(&on_file(path), 10, &clock);
        for token in &ended {
            assert!(!is_there(&store, *token).await);
        }
        assert!(keys(&store, &openid).await.is_empty());
        check(&store, &all).await;
        store.close().await;
    }
}

#[tokio::test]
async fn memory_finds_sessions_and_keys_in_all_slices() {
    let clock = ManualClock::at(NOW);
    let store = open("memory:", 10, &clock);
    let all = populate(&store, &clock, 600).await;
    check(&store, &all).await;
    let (openid, tokens) = &all[100];
    store.end_all(&user(openid), tokens[0]).await.unwrap();
    for token in tokens {
        assert!(!is_there(&store, *token).await);
    }
    check(&store, &all[1..100]).await;
}

#[tokio::test]
async fn a_slice_that_is_full_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let clock = ManualClock::at(NOW);
    let store = open(&on_file(&path), 1000, &clock);
    let mut tokens = Vec::new();
    for key in 0..9 {
        let logins = (0..1000).map(|_| create(&store, session("oAlice", None), Some(key)));
        tokens.append(&mut join_all(logins).await);
    }
    assert_eq!(slices(&path), 2);
    let other = create(&store, session("oBob", None), Some(9)).await;
    assert_eq!(keys(&store, "oAlice").await, [8, 7]);
    store.end_all(&user("oAlice"), tokens[0]).await.unwrap();
    for token in tokens {
        assert!(!is_there(&store, token).await);
    }
    assert!(is_there(&store, other).await);
    assert_eq!(keys(&store, "oBob").await, [9]);
    store.close().await;
}

/// A session from now on for 1000 s.
fn from_now(openid: &str, clock: &ManualClock) -> Session {
    let mut session = session(openid, None);
    session.created = clock.clock().now();
    session.expires = session.created + 1000;
    session
}

#[tokio::test]
async fn what_has_expired_is_deleted_after_an_hour_and_its_space_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    for place in [on_file(&path), "memory:".into()] {
        let clock = ManualClock::at(NOW);
        let store = open(&place, 125, &clock);
        let (mut living, mut largest) = (Vec::new(), [0; 2]);
        for round in 0..400_u32 {
            for login in 0..10 {
                let session = from_now(&format!("o{login}"), &clock);
                let expires = session.expires;
                let key = u8::try_from(round % 250).unwrap();
                living.push((create(&store, session, Some(key)).await, expires));
            }
            clock.forward(50);
            if place != "memory:" {
                let size = fs::metadata(path.join("sessions.sqlite")).unwrap().len();
                let half = &mut largest[usize::from(round >= 200)];
                *half = size.max(*half);
            }
        }
        // 1000 s and an hour, in slices of 150 s.
        if place != "memory:" {
            let rows = rows(&path);
            assert!(rows <= 2 * 10 * 4750 / 50 + 40, "{rows} rows");
            assert!(largest[1] <= largest[0] * 5 / 4, "{largest:?} bytes");
        }
        for (token, expires) in living {
            assert_eq!(is_there(&store, token).await, clock.clock().now() < expires);
        }
        assert_eq!(keys(&store, "o3").await, [149, 148]);
        clock.forward(1000);
        assert!(keys(&store, "o3").await.is_empty());
        store.close().await;
    }
}

/// Waits until everything has been deleted.
async fn all_deleted(path: &Path) {
    let deleted = tokio::time::timeout(Duration::from_secs(20), async {
        while rows(path) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    deleted.await.expect("expired rows stay");
}

#[tokio::test]
async fn an_idle_store_deletes_what_has_expired_and_gives_its_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let clock = ManualClock::at(NOW);
    let store = open(&on_file(&path), 125, &clock);
    for round in 0..10 {
        let logins = (0..1000).map(|_| create(&store, session("oSecret", None), Some(round)));
        join_all(logins).await;
    }
    store.close().await;
    let file = path.join("sessions.sqlite");
    let full = fs::metadata(&file).unwrap().len();
    let store = open(&on_file(&path), 125, &clock);
    clock.forward(1000 + 3599);
    tokio::time::sleep(Duration::from_millis(1500)).await; // for what must not happen
    assert!(rows(&path) > 0);
    clock.forward(1);
    all_deleted(&path).await;
    let given_back = tokio::time::timeout(Duration::from_secs(20), async {
        while number(&path, "PRAGMA freelist_count") > 1100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    given_back.await.expect("the space stays");
    create(&store, from_now("oAlice", &clock), Some(1)).await;
    assert_eq!(keys(&store, "oAlice").await, [1]);
    store.close().await;
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.len() as u64 <= full, "{} of {full}", bytes.len());
    assert!(
        !bytes.windows(7).any(|it| it == b"oSecret"),
        "an openid can still be read"
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let clock = ManualClock::at(NOW);
    let store = open(&on_file(&path), 125, &clock);
    clock.forward(400);
    let token = create(&store, session("oAlice", None), Some(1)).await;
    // Under load, when idle, and at a start.
    for wrong in [NOW + 8 * 86400, NOW + 9 * 86400] {
        clock.set_wall(wrong);
        for login in 0..50 {
            create(&store, from_now("oBob", &clock), Some(login)).await;
            assert!(!is_there(&store, token).await);
        }
        tokio::time::sleep(Duration::from_millis(2100)).await;
        clock.forward(290);
        store.check().await.unwrap();
        clock.set_wall(NOW + 500);
        store.check().await.unwrap();
        assert!(is_there(&store, token).await);
        assert_eq!(keys(&store, "oAlice").await, [1]);
    }
    store.close().await;
    clock.set_wall(NOW + 8 * 86400);
    let store = open(&on_file(&path), 125, &clock);
    create(&store, from_now("oBob", &clock), Some(1)).await;
    store.close().await;
    clock.set_wall(NOW + 500);
    let store = open(&on_file(&path), 125, &clock);
    assert!(is_there(&store, token).await);
    // Once the clock has been right for some minutes, what has expired goes.
    clock.forward(4700);
    store.check().await.unwrap();
    let deleted = tokio::time::timeout(Duration::from_secs(20), async {
        while number(
            &path,
            "SELECT count(*) FROM session WHERE openid = 'oAlice'",
        ) > 0
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    deleted.await.expect("expired sessions stay");
    store.close().await;
}

#[tokio::test]
async fn a_slice_goes_when_its_sessions_have_expired_whatever_older_ones_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let clock = ManualClock::at(NOW);
    let store = open(&on_file(&path), 10, &clock);
    let mut long = session("oLong", None);
    long.expires = NOW + 1_000_000;
    let long = create(&store, long, Some(1)).await;
    clock.forward(10);
    log_in(&store, "oShort", 1).await;
    clock.forward(1000 + 3600);
    store.check().await.unwrap();
    let deleted = tokio::time::timeout(Duration::from_secs(20), async {
        while slices(&path) > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    deleted.await.expect("expired sessions stay");
    assert!(is_there(&store, long).await);
    assert_eq!(number(&path, "SELECT count(*) FROM session"), 1);
    store.close().await;
}

#[tokio::test]
async fn a_start_goes_on_with_a_slice_that_is_young_enough() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let clock = ManualClock::at(NOW);
    for (seconds, expected) in [(0, 1), (124, 1), (1, 2)] {
        clock.forward(seconds);
        let store = open(&on_file(&path), 125, &clock);
        log_in(&store, "oAlice", 1).await;
        assert_eq!(slices(&path), expected);
        store.close().await;
    }
}

#[tokio::test]
async fn exchanges_are_remembered_for_a_minute_across_slices_and_starts() {
    let dir = tempfile::tempdir().unwrap();
    let place = on_file(&dir.path().join("s.sessions"));
    let clock = ManualClock::at(NOW);
    let store = open(&place, 1, &clock);
    for exchange in 1..=9 {
        create(
            &store,
            from_now(&format!("o{exchange}"), &clock),
            Some(exchange),
        )
        .await;
        clock.forward(1);
    }
    store.close().await;
    let store = open(&place, 1, &clock);
    for exchange in 1..=9 {
        let user = store.exchanged(ExchangeHash([exchange; 32])).await.unwrap();
        assert_eq!(user.unwrap().openid, format!("o{exchange}"));
    }
    // The last was stored a second ago.
    for (seconds, known) in [(58, true), (1, false)] {
        clock.forward(seconds);
        let user = store.exchanged(ExchangeHash([9; 32])).await.unwrap();
        assert_eq!(user.is_some(), known);
    }
    store.close().await;
}

#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = on_file(&dir.path().join("s.sessions"));
    let early = ManualClock::at(NOW - 100_000);
    let clock = ManualClock::at(NOW);
    let store = open(&place, 10, &clock);
    let all = populate(&store, &clock, 60).await;
    store.close().await;
    let store = open(&place, 10, &early);
    check(&store, &all).await;
    let token = create(&store, session("oLate", None), Some(1)).await;
    store.close().await;
    let store = open(&place, 10, &ManualClock::at(NOW));
    assert!(is_there(&store, token).await);
    check(&store, &all).await;
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
    let text = |selector: &[u8], verifier: &[u8]| {
        let bytes = [selector, verifier].concat();
        format!("wxs_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let (one, other) = (bytes(&one), bytes(&other));
    let good = text(&one[..8], &one[8..]);
    app.client.session(&good).await.assert_status(200);
    let mut near = one[..8].to_vec();
    near[7] ^= 3; // the other's row
    let mut wrong = vec![
        text(&other[..8], &one[8..]),
        text(&one[..8], &other[8..]),
        text(&near, &one[8..]),
        text(&[0; 8], &one[8..]),
        text(&[255; 8], &one[8..]),
        Token::generate().unwrap().to_text(),
    ];
    for bit in 0..64 {
        let mut selector = one[..8].to_vec();
        selector[bit / 8] ^= 1 << (bit % 8);
        wrong.push(text(&selector, &one[8..]));
    }
    for token in wrong {
        let answer = app.client.session(&token).await;
        answer.assert_problem(401, "invalid_token", "login_again");
    }
}

#[tokio::test]
async fn a_token_does_not_tell_how_many_sessions_there_are() {
    let store = open("memory:", 100, &ManualClock::at(NOW));
    let mut last = [0; 8];
    let mut differing = 0;
    for _ in 0..100 {
        let new = new(session("oAlice", None), None);
        let text = store.create(token(), &new).await.unwrap().to_text();
        let selector = URL_SAFE_NO_PAD.decode(&text[4..]).unwrap()[..8].to_vec();
        let bits = selector
            .iter()
            .zip(&last)
            .map(|(a, b)| (a ^ b).count_ones());
        differing += bits.sum::<u32>();
        last.copy_from_slice(&selector);
    }
    // Half of 6,400, as of random bytes; without a mask it would be two for each.
    assert!((2800..3600).contains(&differing), "{differing}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_comes_back_as_it_was(
        appid in "[!-~]{1,128}",
        openid in "[!-~]{1,128}",
        unionid in proptest::option::of("[!-~]{1,128}"),
        created in 0..1_u64 << 62,
        is_first in any::<bool>(),
    ) {
        let user = UserId { appid, openid };
        let secrets = ["s1".into()];
        let encryption = wxlogin::session::Encryption::new([(&*user.appid, &secrets[..])]).unwrap();
        let clock = ManualClock::at(created).clock();
        let store = Store::open(&settings("memory:"), encryption, metrics(), clock).unwrap();
        let session = Session { user: user.clone(), unionid, created, expires: 1 << 62 };
        let exchange = is_first.then_some(7);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, keys) = runtime.block_on(async {
            let token = store.create(token(), &new(session.clone(), exchange)).await.unwrap();
            let found = store.find(token.id()).await.unwrap().unwrap();
            (found, store.keys(&user).await.unwrap().len())
        });
        prop_assert!(found.user == user);
        prop_assert_eq!(found.unionid, session.unionid);
        prop_assert_eq!((found.created, found.expires), (created, 1 << 62));
        prop_assert_eq!(keys, usize::from(is_first));
    }
}

#[tokio::test]
async fn a_write_that_is_not_polled_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(
        &on_file(&dir.path().join("s.sessions")),
        1000,
        &ManualClock::at(NOW),
    );
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
        let logins = join_all(logins);
        let mut logins = Box::pin(logins);
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

#[tokio::test]
async fn a_close_waits_for_its_place_in_a_full_queue() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let clock = ManualClock::at(NOW);
    let store = open(&on_file(&path), 1000, &clock);
    // Holds up the thread that writes.
    let other = Connection::open(path.join("sessions.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // What finds no room is refused at once.
    let is_full = (0..20_000).any(|_| matches!(store.check().now_or_never(), Some(Err(_))));
    assert!(is_full, "writes wait without a limit");
    let release = async { other.execute_batch("ROLLBACK").unwrap() };
    tokio::join!(store.close(), release);
    drop(other);
    open(&on_file(&path), 1000, &clock).close().await;
}
