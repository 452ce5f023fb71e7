//! The engine of the store of one process, in small segments: what is found across them, what a
//! crash leaves, what goes when it has expired, and what a token tells.

use std::fs;
use std::num::NonZeroU16;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use proptest::prelude::*;
use wxlogin::session::{ExchangeHash, Session, Store, Token, TokenId, UserId};

use crate::app::{ManualClock, TestApp, metrics};
use crate::stores::{create, encryption, keys, log_in, new, session, settings, token, user};

const NOW: u64 = 1_800_000_000;

fn open(place: &str, segment_len: u16, hands: &ManualClock) -> Store {
    let mut settings = settings(place);
    settings.segment_len = NonZeroU16::new(segment_len).unwrap();
    Store::open(&settings, encryption(&["s1"]), metrics(), hands.clock()).unwrap()
}

fn on_file(path: &Path) -> String {
    format!("file:{}", path.display())
}

async fn is_there(store: &Store, token: TokenId) -> bool {
    store.find(token).await.unwrap().is_some()
}

/// The names of the segments' files.
fn segments(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut segments: Vec<_> = names
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "seg"))
        .collect();
    segments.sort();
    segments
}

/// What a crash leaves at this instant.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
}

/// Logs many users in, some much more often than others, and says what to expect.
async fn populate(store: &Store, users: u32) -> Vec<(String, Vec<TokenId>)> {
    let mut all = Vec::new();
    for number in 0..users {
        let often = match number % 100 {
            0 => 40,
            1 => 3,
            _ => 1,
        };
        let openid = format!("o{number}");
        let logins = (0..often).map(|key| create(store, session(&openid, None), Some(key)));
        all.push((openid.clone(), join_all(logins).await));
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
async fn sessions_and_keys_are_found_in_all_segments_also_after_a_stop_and_a_crash() {
    for (segment_len, users) in [(7, 60), (1300, 4000)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sessions");
        let crashed = dir.path().join("crashed.sessions");
        let hands = ManualClock::at(NOW);
        let store = open(&on_file(&path), segment_len, &hands);
        let mut all = populate(&store, users).await;
        check(&store, &all).await;
        copy(&path, &crashed);
        store.close().await;
        assert!(segments(&path).len() > 3);

        for path in [&path, &crashed] {
            let store = open(&on_file(path), segment_len, &hands);
            check(&store, &all).await;
            let (openid, tokens) = &all[0];
            store.end_all(&user(openid), tokens[0]).await.unwrap();
            store.close().await;
        }
        let (openid, ended) = all.remove(0);
        for path in [&path, &crashed] {
            let store = open(&on_file(path), segment_len, &hands);
            for token in &ended {
                assert!(!is_there(&store, *token).await);
            }
            // Its keys are there as long as its last session would have been.
            assert_eq!(keys(&store, &openid).await, [39, 38]);
            check(&store, &all).await;
            store.close().await;
        }
    }
}

#[tokio::test]
async fn memory_finds_sessions_and_keys_in_all_segments() {
    let store = open("memory:", 1300, &ManualClock::at(NOW));
    let all = populate(&store, 4000).await;
    check(&store, &all).await;
    let (openid, tokens) = &all[100];
    store.end_all(&user(openid), tokens[0]).await.unwrap();
    for token in tokens {
        assert!(!is_there(&store, *token).await);
    }
    check(&store, &all[1..100]).await;
}

#[tokio::test]
async fn a_user_with_most_of_the_sessions_is_found_as_a_whole_and_hides_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = on_file(&dir.path().join("s.sessions"));
    for place in ["memory:", &file] {
        let store = open(place, 2000, &ManualClock::at(NOW));
        let mut ours = Vec::new();
        let others = populate(&store, 100).await;
        for _ in 0..4 {
            let logins = (0..900).map(|_| create(&store, session("oAlice", None), Some(7)));
            ours.append(&mut join_all(logins).await);
        }
        check(&store, &others).await;
        assert_eq!(keys(&store, "oAlice").await, [7]);
        store.end_all(&user("oAlice"), ours[0]).await.unwrap();
        for token in ours {
            assert!(!is_there(&store, token).await);
        }
        check(&store, &others).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_crash_before_the_index_is_complete_leaves_all_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let hands = ManualClock::at(NOW);
    let store = open(&on_file(&path), 7, &hands);
    let all = populate(&store, 20).await;
    store.close().await;
    let first = path.join("00000001.seg");
    let whole = fs::read(&first).unwrap();
    let slots = u32::from_le_bytes(whole[25..29].try_into().unwrap()) as usize;
    assert_eq!(whole.len(), 512 * (slots + 1) + 12 * slots);
    for index_len in [0, 1, 12 * slots - 1, 12 * slots] {
        let mut bytes = whole[..512 * (slots + 1) + index_len].to_vec();
        bytes[24] = 1; // closed, and not yet indexed
        let checksum = crc32fast::hash(&bytes[..37]);
        bytes[37..41].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&first, bytes).unwrap();
        let store = open(&on_file(&path), 7, &hands);
        check(&store, &all).await;
        store.close().await;
        assert!(fs::read(&first).unwrap() == whole, "{index_len}");
    }
}

#[tokio::test]
async fn a_slot_that_is_lost_or_spoilt_takes_nothing_else_with_it() {
    for (segment_len, file) in [(100, "00000001.seg"), (4, "00000002.seg")] {
        for spoil in [
            |slot: &mut [u8]| slot.fill(0),
            |slot: &mut [u8]| slot[60] ^= 1,
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s.sessions");
            let hands = ManualClock::at(NOW);
            let store = open(&on_file(&path), segment_len, &hands);
            let mut tokens = Vec::new();
            for login in 1..=9 {
                let session = session("oAlice", None);
                tokens.push(create(&store, session, Some(login)).await);
            }
            store.close().await;
            // The sixth of all is the second of the second four.
            let slot = if segment_len == 4 { 2 } else { 6 };
            let mut bytes = fs::read(path.join(file)).unwrap();
            spoil(&mut bytes[512 * slot..512 * (slot + 1)]);
            fs::write(path.join(file), bytes).unwrap();

            let store = open(&on_file(&path), segment_len, &hands);
            tokens.push(create(&store, session("oAlice", None), Some(10)).await);
            for (number, token) in (1..).zip(&tokens) {
                assert_eq!(is_there(&store, *token).await, number != 6, "{number}");
            }
            assert_eq!(keys(&store, "oAlice").await, [10, 9]);
            store.end_all(&user("oAlice"), tokens[0]).await.unwrap();
            for token in tokens {
                assert!(!is_there(&store, token).await);
            }
            store.close().await;
        }
    }
}

#[tokio::test]
async fn what_expires_makes_room_for_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    for place in [on_file(&path), "memory:".into()] {
        let hands = ManualClock::at(NOW);
        let store = open(&place, 50, &hands);
        let clock = hands.clock();
        let mut living = Vec::new();
        for round in 0..100 {
            for login in 0..10 {
                let mut session = session(&format!("o{login}"), None);
                session.created = clock.now();
                session.expires = clock.now() + 1000;
                let expires = session.expires;
                living.push((create(&store, session, Some(round)).await, expires));
            }
            hands.forward(50);
            store.check().await.unwrap();
            // 200 sessions live, in segments of 30 that are begun 150 s apart.
            if place != "memory:" {
                let count = segments(&path).len();
                assert!(count <= 9, "{count} segments in round {round}");
            }
        }
        for (token, expires) in living {
            assert_eq!(is_there(&store, token).await, clock.now() < expires);
        }
        assert_eq!(keys(&store, "o3").await, [99, 98]);
        hands.forward(1000);
        store.check().await.unwrap();
        assert!(keys(&store, "o3").await.is_empty());
        store.close().await;
    }
    // The last one was begun by the check.
    assert_eq!(segments(&path).len(), 1);
}

#[tokio::test]
async fn what_expired_while_nobody_looked_is_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let hands = ManualClock::at(NOW);
    let store = open(&on_file(&path), 5, &hands);
    populate(&store, 20).await;
    store.close().await;
    assert!(segments(&path).len() > 3);
    hands.forward(1000);
    let store = open(&on_file(&path), 5, &hands);
    assert!(segments(&path).is_empty());
    log_in(&store, "oAlice", 1).await;
    assert_eq!(keys(&store, "oAlice").await, [1]);
    store.close().await;
}

#[tokio::test]
async fn a_segment_that_a_start_went_on_with_is_not_older_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let hands = ManualClock::at(NOW);
    for (seconds, expected) in [(0, 1), (124, 1), (1, 2)] {
        hands.forward(seconds);
        let store = open(&on_file(&path), 50, &hands);
        log_in(&store, "oAlice", 1).await;
        assert_eq!(segments(&path).len(), expected);
        store.close().await;
    }
}

#[tokio::test]
async fn exchanges_are_remembered_across_segments_and_starts() {
    let dir = tempfile::tempdir().unwrap();
    let place = on_file(&dir.path().join("s.sessions"));
    let hands = ManualClock::at(NOW);
    let store = open(&place, 2, &hands);
    for exchange in 1..=9 {
        log_in(&store, &format!("o{exchange}"), exchange).await;
    }
    store.close().await;
    let store = open(&place, 2, &hands);
    for exchange in 1..=9 {
        let user = store.exchanged(ExchangeHash([exchange; 32])).await.unwrap();
        assert_eq!(user.unwrap().openid, format!("o{exchange}"));
    }
    hands.forward(60);
    let user = store.exchanged(ExchangeHash([9; 32])).await.unwrap();
    assert!(user.is_none());
    store.close().await;
}

#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = on_file(&dir.path().join("s.sessions"));
    let early = ManualClock::at(NOW - 100_000);
    let store = open(&place, 5, &ManualClock::at(NOW));
    let all = populate(&store, 20).await;
    store.close().await;
    let store = open(&place, 5, &early);
    check(&store, &all).await;
    let token = create(&store, session("oLate", None), Some(1)).await;
    store.close().await;
    let store = open(&place, 5, &ManualClock::at(NOW));
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
    let text = |place: &[u8], secret: &[u8]| {
        let bytes = [place, secret].concat();
        format!("wxs_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let (one, other) = (bytes(&one), bytes(&other));
    let good = text(&one[..8], &one[8..]);
    app.client.session(&good).await.assert_status(200);
    let mut near = one[..8].to_vec();
    near[7] ^= 3; // the other's slot
    let mut wrong = vec![
        text(&other[..8], &one[8..]),
        text(&one[..8], &other[8..]),
        text(&near, &one[8..]),
        text(&[0; 8], &one[8..]),
        text(&[255; 8], &one[8..]),
        Token::generate().unwrap().to_text(),
    ];
    for bit in 0..64 {
        let mut place = one[..8].to_vec();
        place[bit / 8] ^= 1 << (bit % 8);
        wrong.push(text(&place, &one[8..]));
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
        let place = URL_SAFE_NO_PAD.decode(&text[4..]).unwrap()[..8].to_vec();
        let bits = place.iter().zip(&last).map(|(a, b)| (a ^ b).count_ones());
        differing += bits.sum::<u32>();
        last.copy_from_slice(&place);
    }
    // Half of 6,400, as of random bytes; without a mask it would be two for each.
    assert!((2800..3600).contains(&differing), "{differing}");
}

#[tokio::test]
async fn an_id_that_is_too_long_is_refused_and_harms_nothing() {
    let store = open("memory:", 100, &ManualClock::at(NOW));
    for (openid, unionid) in [("o".repeat(129), None), ("o".into(), Some("u".repeat(300)))] {
        let session = session(&openid, unionid.as_deref());
        let refused = store.create(token(), &new(session, Some(1))).await;
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("an id is too long"), "{error}");
    }
    log_in(&store, "oAlice", 1).await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_comes_back_as_it_was(
        appid in "[!-~]{1,128}",
        openid in "[!-~]{1,128}",
        unionid in proptest::option::of("[!-~]{1,128}"),
        created in 0..u64::MAX,
        is_first in any::<bool>(),
    ) {
        let user = UserId { appid, openid };
        let secrets = ["s1".into()];
        let seals = wxlogin::session::Encryption::new([(&*user.appid, &secrets[..])]).unwrap();
        let clock = ManualClock::at(created).clock();
        let store = Store::open(&settings("memory:"), seals, metrics(), clock).unwrap();
        let session = Session { user: user.clone(), unionid, created, expires: u64::MAX };
        let exchange = is_first.then_some(7);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, keys) = runtime.block_on(async {
            let token = store.create(token(), &new(session.clone(), exchange)).await.unwrap();
            let found = store.find(token.id()).await.unwrap().unwrap();
            (found, store.keys(&user).await.unwrap().len())
        });
        prop_assert!(found.user == user);
        prop_assert_eq!(found.unionid, session.unionid);
        prop_assert_eq!((found.created, found.expires), (created, u64::MAX));
        prop_assert_eq!(keys, usize::from(is_first));
    }
}
