//! Property tests of the parsers: no panic on any input, and valid results.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use wxlogin::config::Config;
use wxlogin::one_time_codes::OneTimeCode;
use wxlogin::session::{StoreUrl, Token};
use wxlogin::wechat::{
    AccessToken, CodeSession, EncryptedData, Error, Expected, PhoneNumber, hmac_signature,
    is_signature,
};

use crate::fake_wechat::{encrypt, hmac_sign, sign};
use crate::support::app::vars;

fn nearly_a_phone_info() -> impl Strategy<Value = String> {
    let text = || {
        prop_oneof![
            r#""[ -~&&[^"\\\\]]{0,70}""#,
            "-?[0-9]{1,20}",
            Just("null".to_owned())
        ]
    };
    let appid = prop_oneof!["wx1", "wx2", "[ -~&&[^\"\\\\]]{0,9}"];
    (text(), text(), text(), appid).prop_map(|(phone, pure, country, appid)| {
        format!(
            r#"{{"phoneNumber":{phone},"purePhoneNumber":{pure},"countryCode":{country},"watermark":{{"timestamp":1,"appid":"{appid}"}}}}"#
        )
    })
}

/// JSON that is similar to WeChat's answers.
fn nearly_an_answer() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "errcode",
        "errmsg",
        "openid",
        "unionid",
        "session_key",
        "access_token",
        "expires_in",
        "phone_info",
        "[a-z]{0,9}"
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        "-?[0-9]{1,20}",
        r#""[ -~&&[^"\\]]{0,40}""#,
        Just(r#""HyVFkGl5F5OQWJZZaNzBBg==""#.to_owned()),
        Just(r#"{"a":[1,2.5,true]}"#.to_owned()),
        nearly_a_phone_info(),
    ];
    proptest::collection::vec((name, value), 0..6).prop_map(|fields| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!(r#""{name}":{value}"#))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn check_answer(body: &[u8]) {
    match AccessToken::from_json(body) {
        Ok(token) => {
            assert!(token.expires_in > 0 && !token.expose().is_empty());
            assert!(token.expose().bytes().all(|b| b.is_ascii_graphic()));
        }
        Err(error) => check_error(&error),
    }
    match PhoneNumber::from_json(body, "wx1") {
        Ok(number) => {
            let parts = [
                number.phone_number(),
                number.pure_phone_number(),
                number.country_code(),
            ];
            assert!(parts.iter().all(|part| (1..=64).contains(&part.len())));
            assert!(String::from_utf8_lossy(body).contains("wx1"));
        }
        Err(error) => check_error(&error),
    }
    match CodeSession::from_json(body) {
        Ok(session) => {
            let ids = [Some(&session.openid), session.unionid.as_ref()];
            for id in ids.into_iter().flatten() {
                assert!((1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
        Err(error) => check_error(&error),
    }
}

fn check_error(error: &Error) {
    match error {
        Error::Refused(refusal) => assert_ne!(refusal.errcode, 0),
        error => assert!(matches!(error, Error::Invalid(_)), "{error}"),
    }
}

/// The number of cases is `PROPTEST_CASES`; for a long search, use a million with `--release`.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(2000, |cases| cases.parse().unwrap());
    ProptestConfig {
        failure_persistence: None,
        cases,
        ..ProptestConfig::default()
    }
}

const KEY: [u8; 16] = [7; 16];
const NOW: u64 = 1_800_000_000;

fn open(encrypted_data: &str, iv: &str) -> Option<String> {
    let expected = Expected {
        appid: "wx1",
        openid: "oAlice",
        now: NOW,
        max_age: Some(600),
    };
    let data = EncryptedData::from_base64(encrypted_data, iv)?;
    data.decrypt(&KEY, &expected)?.ok()
}

/// JSON that is similar to a user's data.
fn nearly_user_data() -> impl Strategy<Value = String> {
    let openid = prop_oneof!["\"oAlice\"", "\"oBob\"", "null", "7", "\\PC{0,9}"];
    let appid = prop_oneof!["\"wx1\"", "\"wx2\"", "null", "\\PC{0,9}"];
    let time = prop_oneof![
        (NOW - 700..NOW + 700).prop_map(|time| time.to_string()),
        "-?[0-9]{1,22}(\\.[0-9])?",
        "\\PC{0,9}",
    ];
    (openid, appid, time, "[{}\\[\\] ,:\"a-z]{0,20}|").prop_map(|(openid, appid, time, junk)| {
        format!(r#"{{"openId":{openid},"watermark":{{"timestamp":{time},"appid":{appid}}}{junk}}}"#)
    })
}

/// Checks user data that was decrypted.
fn check_opened(json: &[u8]) {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(value["watermark"]["appid"], "wx1");
    assert!(value["openId"].is_null() || value["openId"] == "oAlice");
    let time = value["watermark"]["timestamp"].as_u64().unwrap();
    assert!(time.abs_diff(NOW) <= 600);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_as_encrypted_data(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        iv in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        prop_assert_eq!(open(&STANDARD.encode(data), &STANDARD.encode(iv)), None);
    }

    #[test]
    fn any_text_as_encrypted_data(data in "\\PC{0,90}|[A-Za-z0-9+/_ =-]{0,90}", iv in "\\PC{0,30}|[A-Za-z0-9+/_ =-]{22,24}") {
        prop_assert_eq!(open(&data, &iv), None);
    }

    #[test]
    fn nearly_a_users_data(json in nearly_user_data()) {
        let (data, iv) = encrypt(&KEY, &json);
        if let Some(opened) = open(&data, &iv) {
            prop_assert_eq!(&opened, &json);
            check_opened(opened.as_bytes());
        }
    }

    #[test]
    fn a_users_data_opens_whatever_became_of_its_base64(
        name in "[^\"\\\\\\p{C}]{0,40}",
        url_alphabet in any::<bool>(),
        spaces in any::<bool>(),
        padding in 0_usize..3,
    ) {
        let json = format!(
            r#"{{"nickName":"{name}","watermark":{{"timestamp":{NOW},"appid":"wx1"}}}}"#
        );
        let (data, iv) = encrypt(&KEY, &json);
        let mangle = |mut text: String| {
            if spaces { text = text.replace('+', " "); }
            if url_alphabet { text = text.replace('+', "-").replace('/', "_"); }
            for _ in 0..padding { text = text.strip_suffix('=').unwrap_or(&text).to_owned(); }
            text
        };
        prop_assert_eq!(open(&mangle(data), &mangle(iv)), Some(json));
    }

    #[test]
    fn any_text_as_signature(signature in "\\PC{0,60}|[0-9a-f]{40}", raw_data in "\\PC{0,60}") {
        let right = sign(&KEY, &raw_data);
        let is_right = is_signature(&signature, &raw_data, &KEY);
        prop_assert!(!is_right || signature.to_lowercase().contains(&right));
        prop_assert!(is_signature(&right, &raw_data, &KEY));
    }

    #[test]
    fn any_text_is_signed(data in "\\PC{0,60}") {
        prop_assert_eq!(hmac_signature(&data, &KEY), hmac_sign(&KEY, &data));
    }

    #[test]
    fn any_bytes_as_wechats_answer(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_answer(&body);
    }

    #[test]
    fn nearly_wechats_answer(body in nearly_an_answer()) {
        check_answer(body.as_bytes());
    }

    #[test]
    fn any_text_as_code(text in "\\PC{0,300}|[!-~]{0,300}") {
        let fit = (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let is_ok = OneTimeCode::parse(&text).is_ok();
        prop_assert!(fit || !is_ok);
        let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+/=:".contains(&b));
        prop_assert!(is_ok || !(fit && is_plain));
    }

    #[test]
    fn any_text_as_token(text in "\\PC{0,60}|wxs_[A-Za-z0-9_-]{40,46}={0,2}") {
        if let Some(token) = Token::parse(&text) {
            prop_assert_eq!(token.to_text(), text, "two texts for one token");
        }
    }

    #[test]
    fn any_bytes_of_a_token_come_back(seed in "[A-Za-z0-9_-]{42}") {
        // The last character carries 4 bits only.
        let text = format!("wxs_{seed}A");
        prop_assert_eq!(Token::parse(&text).unwrap().to_text(), text);
    }

    #[test]
    fn any_text_as_duration(text in "\\PC{0,30}|[0-9]{1,22} ?(ns|us|ms|s|m|h|d|w|M|y)?") {
        let result = Config::from_vars(&vars("http://127.0.0.1:1", &[("SESSION_TTL", &text)]));
        if let Ok(config) = result {
            prop_assert!(config.sessions.ttl.as_secs() >= 1 && config.sessions.ttl.as_secs() <= 315_360_000);
        }
    }

    #[test]
    fn any_text_as_store(text in "\\PC{0,40}|(file|memory|redis|redis\\+cluster):(//)?\\PC{0,20}") {
        match text.parse::<StoreUrl>() {
            Ok(StoreUrl::Memory) => prop_assert_eq!(text, "memory:"),
            Ok(StoreUrl::File(path)) => prop_assert_eq!(text, format!("file:{}", path.display())),
            Ok(StoreUrl::Redis(_)) => prop_assert!(text.starts_with("redis"), "{}", text),
            Err(_) => {}
        }
    }
}
