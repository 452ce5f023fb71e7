//! Mutated bodies cause no panic and no 5xx, and responses do not help an attack on the encryption.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::fake_wechat::{APPID, encrypt, openid, session_key, sign, user_info};
use crate::support::app::TestApp;
use crate::support::client::seen;
use crate::support::client::{Answer, Client};

const NOW: u64 = 1_800_000_000;

/// A mutation of a good body.
#[derive(Debug, Clone)]
enum Mutation {
    Bytes(Vec<u8>),
    Text(String),
    Replace(Index, u8),
    Insert(Index, String),
    Cut(Index),
    /// Replaces one of the two values by another text.
    Value(bool, String),
    /// Replaces one of the two values by JSON that is not a string.
    Json(bool, String),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let base64 = "[A-Za-z0-9+/_ -]{0,64}={0,2}";
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..200).prop_map(Mutation::Bytes),
        "\\PC{1,100}".prop_map(Mutation::Text),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (any::<Index>(), "\\PC{1,4}").prop_map(|(at, text)| Mutation::Insert(at, text)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<bool>(), base64).prop_map(|(first, text)| Mutation::Value(first, text)),
        (any::<bool>(), "\\PC{0,60}").prop_map(|(first, text)| Mutation::Value(first, text)),
        (any::<bool>(), "null|[1-9][0-9]{0,2}|\\[\\]|\\{\\}|true")
            .prop_map(|(first, json)| Mutation::Json(first, json)),
    ]
}

impl Mutation {
    fn of(&self, names: [&str; 2], values: [&str; 2]) -> Vec<u8> {
        let mut fields = values.map(|value| json!(value));
        match self {
            Self::Value(first, text) => fields[usize::from(!first)] = json!(text),
            Self::Json(first, json) => {
                fields[usize::from(!first)] = serde_json::from_str(json).unwrap();
            }
            _ => {}
        }
        let mut body = json!({names[0]: fields[0], names[1]: fields[1]})
            .to_string()
            .into_bytes();
        match self {
            Self::Bytes(bytes) => return bytes.clone(),
            Self::Text(text) => return text.clone().into_bytes(),
            Self::Replace(at, byte) => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Self::Insert(at, text) => {
                let at = at.index(body.len());
                body.splice(at..at, text.bytes());
            }
            Self::Cut(at) => body.truncate(at.index(body.len()).max(1)),
            Self::Value(..) | Self::Json(..) => {}
        }
        body
    }
}

fn mutations(count: usize) -> Vec<Mutation> {
    let mut runner = TestRunner::default();
    let strategy = mutation();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

/// Posts mutated bodies for user number `user`, too few of them to have the keys dropped.
async fn post_some(
    client: &Client,
    user: usize,
    route: Route,
    mutations: &[Mutation],
) -> Vec<Answer> {
    let code = format!("user-u{user}");
    let (token, key) = (client.token(&code).await, session_key(&code));
    let info = user_info(APPID, &openid(&format!("u{user}")), NOW);
    let (data, iv) = encrypt(&key, &info);
    let signature = sign(&key, &info);
    let mut answers = Vec::new();
    for mutation in mutations {
        let body = match route {
            Route::Decrypt => mutation.of(["encryptedData", "iv"], [&data, &iv]),
            Route::Verify => mutation.of(["rawData", "signature"], [&info, &signature]),
        };
        let answer = client.post(route.path(), &token, body).await;
        if answer.status == 200 {
            // A changed iv changes the first 16 bytes: WeChat's scheme does not authenticate them.
            let opened = answer.json();
            assert_eq!(opened["watermark"]["appid"], APPID, "{mutation:?}");
            assert!(answer.text.ends_with(&info[16..]), "{mutation:?}");
        }
        // A body that is the JSON described is not refused as malformed.
        if matches!(mutation, Mutation::Value(..)) {
            assert_ne!(answer.status, 400, "{mutation:?}");
        }
        answers.push(answer);
    }
    answers
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Route {
    Decrypt,
    Verify,
}

impl Route {
    fn path(self) -> &'static str {
        match self {
            Self::Decrypt => "/session/decrypt",
            Self::Verify => "/session/verify",
        }
    }
}

#[tokio::test]
async fn two_thousand_bodies_have_few_answers() {
    have_few_answers(2_000).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn ten_thousand_bodies_have_few_answers() {
    have_few_answers(10_000).await;
}

async fn have_few_answers(bodies: usize) {
    let app = TestApp::start().await;
    for route in [Route::Decrypt, Route::Verify] {
        let mutations = mutations(bodies);
        let users = mutations.chunks(9).enumerate();
        let users = users.map(|(user, some)| post_some(&app.client, user, route, some));
        let answers: Vec<_> = futures_util::stream::iter(users)
            .buffer_unordered(8)
            .concat()
            .await;
        assert_eq!(answers.len(), bodies);
        let mut kinds: HashMap<u16, HashSet<String>> = HashMap::new();
        for answer in &answers {
            kinds
                .entry(answer.status.as_u16())
                .or_default()
                .insert(seen(answer));
        }
        let good = if route == Route::Decrypt { 200 } else { 204 };
        let mut statuses: Vec<_> = kinds.keys().copied().collect();
        // A few mutations, or none, change nothing that is checked.
        statuses.retain(|status| *status != good);
        statuses.sort_unstable();
        assert_eq!(statuses, [400, 422], "{route:?}");
        assert_eq!(kinds[&422].len(), 1, "{:?}", kinds[&422]);
        // What is not the JSON of the path is told before any key is tried.
        let is_malformed = |seen: &String| seen.contains("\"malformed_body\"");
        assert!(kinds[&400].iter().all(is_malformed), "{:?}", kinds[&400]);
    }
}

/// Whether the plaintext of a ciphertext of 32 bytes ends in valid padding.
fn has_padding(key: &[u8; 16], iv: &[u8; 16], data: &[u8]) -> bool {
    let key = UnboundCipherKey::new(&AES_128, key).unwrap();
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).unwrap();
    let iv = DecryptionContext::Iv128(FixedLength::from(*iv));
    key.decrypt(&mut data.to_vec(), iv).is_ok()
}

#[tokio::test]
async fn a_padding_oracle_says_nothing() {
    let app = TestApp::start().await;
    let key = session_key("a");
    let scripted = json!({"openid": openid("mallory"), "session_key": STANDARD.encode(key)});
    let info = user_info(APPID, &openid("mallory"), NOW);
    let (data, iv) = encrypt(&key, &info);
    let iv: [u8; 16] = STANDARD.decode(iv).unwrap().try_into().unwrap();
    let data = STANDARD.decode(data).unwrap();
    // The classic attack on the last byte of each of two blocks: the byte before it is changed until
    // the padding fits, which tells the byte.
    let (mut token, mut answers, mut fitting) = (String::new(), HashSet::new(), 0);
    for block in [data.len() - 32, data.len() - 16] {
        for byte in 0..=255_u8 {
            if byte % 9 == 0 {
                let code = format!("mallory.{block}.{byte}");
                app.wechat.script(&code, &scripted.to_string());
                token = app.client.token(&code).await;
            }
            let mut attempt = data[..block + 16].to_vec();
            attempt[block - 1] = byte;
            if byte == data[block - 1] {
                continue;
            }
            fitting += usize::from(has_padding(&key, &iv, &attempt));
            let attempt = (STANDARD.encode(attempt), STANDARD.encode(iv));
            answers.insert(seen(&app.client.decrypt(&token, &attempt).await));
        }
    }
    assert!(fitting > 0, "the attack never met a padding that fits");
    assert_eq!(answers.len(), 1, "{answers:?}");
}
