//! Whatever comes in: no panic, and a typed result that keeps its promises.

use proptest::prelude::*;
use wxlogin::config::Config;
use wxlogin::session::{Place, Token};
use wxlogin::wechat::{CodeSession, Error, JsCode};

use crate::app::vars;

/// JSON that is nearly what WeChat answers.
fn nearly_an_answer() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "errcode",
        "errmsg",
        "openid",
        "unionid",
        "session_key",
        "[a-z]{0,9}"
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        "-?[0-9]{1,20}",
        r#""[ -~&&[^"\\]]{0,40}""#,
        Just(r#""HyVFkGl5F5OQWJZZaNzBBg==""#.to_owned()),
        Just(r#"{"a":[1,2.5,true]}"#.to_owned()),
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
    match CodeSession::from_json(body) {
        Ok(session) => {
            let ids = [Some(&session.openid), session.unionid.as_ref()];
            for id in ids.into_iter().flatten() {
                assert!((1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
        Err(Error::Errcode(errcode)) => assert_ne!(errcode.0, 0),
        Err(error) => assert!(matches!(error, Error::Invalid(_)), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

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
        prop_assert_eq!(JsCode::parse(&text).is_ok(), fit);
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
        match text.parse::<Place>() {
            Ok(Place::Memory) => prop_assert_eq!(text, "memory:"),
            Ok(Place::File(path)) => prop_assert_eq!(text, format!("file:{}", path.display())),
            Ok(Place::Redis(_)) => prop_assert!(text.starts_with("redis"), "{}", text),
            Err(_) => {}
        }
    }
}
