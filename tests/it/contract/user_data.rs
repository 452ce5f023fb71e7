//! `POST /session/decrypt`, `POST /session/verify`

use serde_json::{Value, json};

use crate::fake_wechat::{APPID, encrypt, hex, openid, session_key, sign, user_info};
use crate::support::app::TestApp;
use crate::support::client::exchange_bytes;
use crate::support::client::seen;

const NOW: u64 = 1_800_000_000;

/// The data that WeChat encrypts for a user who logged in with this code.
fn data(code: &str, user: &str) -> (String, String) {
    let info = user_info(APPID, &openid(user), NOW);
    encrypt(&session_key(code), &info)
}

#[tokio::test]
async fn the_official_example_of_encrypted_data_opens() {
    let appid = "wx4f4bc4dec97d474b";
    let settings = [("WECHAT_APPID", appid), ("USERDATA_MAX_AGE", "0")];
    let app = TestApp::with(&settings).await;
    app.wechat.reset_secret(appid, crate::fake_wechat::SECRET);
    let answer = json!({
        "openid": "oGZUI0egBJY1zhBYw2KhdUfwVJJE",
        "session_key": "tiihtNczf5v6AKRyjwEUhQ==",
    });
    app.wechat.script("official", &answer.to_string());
    let token = app.client.token("official").await;
    let data = concat!(
        "CiyLU1Aw2KjvrjMdj8YKliAjtP4gsMZMQmRzooG2xrDcvSnxIMXFufNstNGTyaGS9uT5geRa0W4oTOb1WT7fJlAC",
        "+oNPdbB+3hVbJSRgv+4lGOETKUQz6OYStslQ142dNCuabNPGBzlooOmB231qMM85d2/fV6ChevvXvQP8Hkue1poO",
        "FtnEtpyxVLW1zAo6/1Xx1COxFvrc2d7UL/lmHInNlxuacJXwu0fjpXfz/YqYzBIBzD6WUfTIF9GRHpOn/Hz7saL8",
        "xz+W//FRAUid1OksQaQx4CMs8LOddcQhULW4ucetDf96JcR3g0gfRK4PC7E/r7Z6xNrXd2UIeorGj5Ef7b1pJAYB",
        "6Y5anaHqZ9J6nKEBvB4DnNLIVWSgARns/8wR2SiRS7MNACwTyrGvt9ts8p12PKFdlqYTopNHR1Vf7XjfhQlVsAJd",
        "NiKdYmYVoKlaRv85IfVunYzO0IKXsyl7JCUjCpoG20f0a04COwfneQAGGwd5oa+T8yO5hzuyDb/XcxxmK01EpqOy",
        "uxINew==",
    );
    let data = (data.to_owned(), "r7BXXKkLb8qrSNn05n0qiA==".to_owned());
    let opened = app.client.decrypt(&token, &data).await;
    opened.assert_status(200);
    assert_eq!(opened.header("content-type"), Some("application/json"));
    assert_eq!(opened.header("cache-control"), Some("no-store"));
    assert_eq!(opened.text.len(), 393);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, opened.text.as_bytes());
    assert_eq!(
        hex(hash.as_ref()),
        "3237d8a5dbd413523c194882c7156544d8a06e2afcc97383cc300c17bd09391b"
    );

    // It was made in 2016.
    let app = TestApp::with(&settings[..1]).await;
    app.wechat.reset_secret(appid, crate::fake_wechat::SECRET);
    app.wechat.script("official", &answer.to_string());
    let token = app.client.token("official").await;
    let old = app.client.decrypt(&token, &data).await;
    old.assert_problem(422, "undecryptable", "login_again");
}

#[tokio::test]
async fn the_official_example_of_a_signature_matches() {
    let app = TestApp::start().await;
    let answer = json!({"openid": "oBand", "session_key": "HyVFkGl5F5OQWJZZaNzBBg=="});
    app.wechat.script("official", &answer.to_string());
    let token = app.client.token("official").await;
    let raw_data = r#"{"nickName":"Band","gender":1,"language":"zh_CN","city":"Guangzhou","province":"Guangdong","country":"CN","avatarUrl":"http://wx.qlogo.cn/mmopen/vi_32/1vZvI39NWFQ9XM4LtQpFrQJ1xlgZxx3w7bQxKARol6503Iuswjjn6nIGBiaycAjAtpujxyzYsrztuuICqIM5ibXQ/0"}"#;
    let signature = "75e81ceda165f4ffa64f4068af58c64b8f54b88c";
    let verified = app.client.verify(&token, raw_data, signature).await;
    verified.assert_status(204);
    assert_eq!(verified.text, "");

    let reserialised = raw_data.replace(",\"gender\"", ", \"gender\"");
    let of_another = app.client.token("user-alice").await;
    for (token, raw_data, signature) in [
        (&token, &*reserialised, signature),
        (&token, raw_data, ""),
        (&token, raw_data, &signature[..39]),
        (&token, raw_data, "75e81ceda165f4ffa64f4068af58c64b8f54b88d"),
        (&of_another, raw_data, signature),
    ] {
        let refused = app.client.verify(token, raw_data, signature).await;
        refused.assert_problem(422, "bad_signature", "login_again");
    }
    // A failed verification is not counted: a signature cannot be guessed.
    for _ in 0..20 {
        app.client.verify(&token, raw_data, "").await;
    }
    app.client
        .verify(&token, raw_data, signature)
        .await
        .assert_status(204);
}

#[tokio::test]
async fn data_opens_with_the_last_two_keys_from_any_token_of_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    let redis = crate::support::redis_server::RedisServer::start();
    for store in ["memory:", &file, &redis.url()] {
        let app = TestApp::with(&[("SESSION_STORE", store)]).await;
        let first = app.client.token("user-alice.1").await;
        let (one, two, three) = (
            data("user-alice.1", "alice"),
            data("user-alice.2", "alice"),
            data("user-alice.3", "alice"),
        );
        let second = app.client.token("user-alice.2").await;
        for token in [&first, &second] {
            for data in [&one, &two] {
                let opened = app.client.decrypt(token, data).await;
                opened.assert_status(200);
                assert_eq!(opened.text, user_info(APPID, &openid("alice"), NOW));
            }
        }
        let third = app.client.token("user-alice.3").await;
        for token in [&first, &third] {
            for data in [&two, &three] {
                app.client.decrypt(token, data).await.assert_status(200);
            }
            let gone = app.client.decrypt(token, &one).await;
            gone.assert_problem(422, "undecryptable", "login_again");
        }
        // Not with another user's token.
        let bob = app.client.token("user-bob").await;
        let others = app.client.decrypt(&bob, &three).await;
        others.assert_problem(422, "undecryptable", "login_again");
    }
}

#[tokio::test]
async fn base64_is_read_as_it_arrives() {
    let app = TestApp::start().await;
    let code = (0..100)
        .map(|number| format!("user-alice.{number}"))
        .find(|code| {
            let (data, iv) = data(code, "alice");
            data.contains('+') && data.contains('/') && iv.ends_with("==")
        })
        .unwrap();
    let token = app.client.token(&code).await;
    let (data, iv) = data(&code, "alice");
    let percent = |text: &str| {
        let text = text.replace('%', "%25").replace('+', "%2B");
        text.replace('/', "%2F").replace('=', "%3D")
    };
    let change: [fn(&str) -> String; 14] = [
        |text| text.replace('+', " "),
        |text| text.replace('+', "-").replace('/', "_"),
        |text| text.trim_end_matches('=').to_owned(),
        |text| text.replace('+', " ").replace('=', ""),
        |text| text.replacen('=', "", 1),
        |text| format!("{text}=="),
        |text| format!("\"{text}\""),
        |text| format!(" '{text}'\n"),
        |text| format!("\u{feff}{text}"),
        |text| format!("  {}\r\n{} ", &text[..8], &text[8..]),
        |text| format!("{} {}", &text[..8], &text[8..]).replace('+', "-"),
        |text| text.replace('/', "\\/").replace('=', "\\u003d"),
        |text| format!("\"{}\"\n", text.replace('/', "\\/")),
        |text| format!("\\\"{text}\\\""),
    ];
    let mut changed: Vec<_> = change.map(|change| (change(&data), change(&iv))).into();
    let lower_case = percent(&data).replace("%2B", "%2b").replace("%2F", "%2f");
    for encoded in [percent(&data), lower_case] {
        changed.push((encoded, percent(&iv).replace("%3D", "%3d")));
    }
    changed.push((
        format!("%22{}%22", percent(&data)),
        format!("%22{iv}%0A%22"),
    ));
    for changed in &changed {
        let opened = app.client.decrypt(&token, changed).await;
        assert_eq!(opened.status, 200, "{changed:?}");
    }
    // Data that cannot be decoded is not counted as a failure.
    let unreadable = [
        (String::new(), iv.clone()),
        (data[..data.len() - 5].to_owned(), iv.clone()),
        (data.clone(), iv[..iv.len() - 5].to_owned()),
        (data.replace('+', "%"), iv.clone()),
        (data.replace('+', "\\"), iv.clone()),
        ("%25".repeat(2000), iv.clone()),
        (percent(&percent(&data)), iv.clone()),
        ("[object Object]".to_owned(), "undefined".to_owned()),
    ];
    for unreadable in unreadable.iter().cycle().take(24) {
        let refused = app.client.decrypt(&token, unreadable).await;
        refused.assert_problem(422, "undecryptable", "login_again");
    }
    app.client
        .decrypt(&token, &(data, iv))
        .await
        .assert_status(200);
}

#[tokio::test]
async fn a_signature_is_read_as_it_arrives() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    let signature = sign(&session_key("user-alice"), "{}");
    for arriving in [
        signature.to_uppercase(),
        format!(" {signature}\n"),
        format!("\"{signature}\""),
        format!("%22{signature}%22"),
    ] {
        let verified = app.client.verify(&token, "{}", &arriving).await;
        assert_eq!(verified.status, 204, "{arriving:?}");
    }
}

#[tokio::test]
async fn raw_control_characters_in_a_string_are_escaped() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    let all: String = ('\0'..' ')
        .chain(['\u{7f}', '\u{85}', '\u{2028}', '😀'])
        .collect();
    let rest = format!(r#""watermark":{{"timestamp":{NOW},"appid":"{APPID}"}}"#);
    let name = |name: &str| {
        encrypt(
            &session_key("user-alice"),
            format!("\t{{\r\n\"nickName\":\"{name}\",{rest}}}\n"),
        )
    };
    let opened = app
        .client
        .decrypt(&token, &name(&format!("\\\\{all}\\\"\n")))
        .await;
    opened.assert_status(200);
    assert_eq!(opened.json()["nickName"], format!("\\{all}\"\n"));
    assert!(
        opened
            .text
            .starts_with("\t{\r\n\"nickName\":\"\\\\\\u0000\\u0001"),
        "{}",
        opened.text
    );
    // An escape of half a character is JSON, as WeChat wrote it.
    let half = app.client.decrypt(&token, &name("\\ud83d")).await;
    half.assert_status(200);
    assert!(
        half.text.contains(r#""nickName":"\ud83d""#),
        "{}",
        half.text
    );
    for broken in ["\\\n", "\",\0\"x\":\""] {
        let refused = app.client.decrypt(&token, &name(broken)).await;
        refused.assert_problem(422, "undecryptable", "login_again");
    }
}

#[tokio::test]
async fn every_failure_to_open_is_the_same_answer() {
    let app = TestApp::start().await;
    let (alice, key) = (openid("alice"), session_key("user-alice"));
    let json = |text: &str| encrypt(&key, text);
    let good = json(&user_info(APPID, &alice, NOW));
    let with = |data: &str, iv: &str| (data.to_owned(), iv.to_owned());
    let mut broken_padding = good.clone();
    broken_padding.0.replace_range(..4, "AAAA"); // and a broken first block
    let rows = [
        ("", with("", "")),
        ("no iv", with(&good.0, "")),
        ("no data", with("", &good.1)),
        ("an iv of 15 bytes", with(&good.0, "AAAAAAAAAAAAAAAAAAAA")),
        ("half a block", with(&good.0[..20], &good.1)),
        ("not base64", with("ä!", &good.1)),
        ("a changed block", broken_padding),
        ("another iv", with(&good.0, "AAAAAAAAAAAAAAAAAAAAAA==")),
        ("no JSON", json("hello")),
        (
            "not UTF-8",
            encrypt(
                &key,
                [
                    b"{\"x\":\"\xff\",".as_slice(),
                    &user_info(APPID, &alice, NOW).as_bytes()[1..],
                ]
                .concat(),
            ),
        ),
        ("an array", json(&format!(r#"[["{APPID}",{NOW}],null]"#))),
        (
            "an array inside",
            json(&format!(r#"{{"watermark":["{APPID}",{NOW}]}}"#)),
        ),
        ("no object", json("[]")),
        ("no watermark", json("{}")),
        (
            "no appid",
            json(&format!(r#"{{"watermark":{{"timestamp":{NOW}}}}}"#)),
        ),
        (
            "no time",
            json(&format!(r#"{{"watermark":{{"appid":"{APPID}"}}}}"#)),
        ),
        ("too old", json(&user_info(APPID, &alice, NOW - 601))),
        ("too new", json(&user_info(APPID, &alice, NOW + 601))),
        ("another app", json(&user_info("wx1", &alice, NOW))),
        ("another user", json(&user_info(APPID, &openid("bob"), NOW))),
        (
            "openId no text",
            json(&user_info(APPID, &alice, NOW).replacen("\"o", "1,\"x\":\"o", 1)),
        ),
        (
            "another key",
            encrypt(&[7; 16], user_info(APPID, &alice, NOW)),
        ),
    ];
    let mut answers = std::collections::HashMap::new();
    for (number, (what, data)) in rows.iter().enumerate() {
        // With the same key each time, and fewer than ten failures.
        let answer = json!({"openid": alice, "session_key": base64(&key)});
        let code = format!("scripted.{number}");
        app.wechat.script(&code, &answer.to_string());
        let token = app.client.token(&code).await;
        let answer = app.client.decrypt(&token, data).await;
        answer.assert_problem(422, "undecryptable", "login_again");
        answers.entry(seen(&answer)).or_insert(what);
        app.client.decrypt(&token, &good).await.assert_status(200);
    }
    // Also without keys.
    let bob = app.client.token("user-bob").await;
    for _ in 0..12 {
        let answer = app.client.decrypt(&bob, &good).await;
        answers.entry(seen(&answer)).or_insert(&"no keys");
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    for age in [NOW - 600, NOW + 600] {
        let token = app.client.token("scripted.0").await;
        let edge = json(&user_info(APPID, &alice, age));
        app.client.decrypt(&token, &edge).await.assert_status(200);
    }
}

fn base64(key: &[u8; 16]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(key)
}

#[tokio::test]
async fn data_without_an_openid_opens_and_comes_as_it_is() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    let phone = format!(
        r#" {{"phoneNumber":"+8613580006666", "x":1.50e0, "watermark":{{"timestamp":{NOW},"appid":"{APPID}"}}}}"#
    );
    let data = encrypt(&session_key("user-alice"), &phone);
    let opened = app.client.decrypt(&token, &data).await;
    opened.assert_status(200);
    assert_eq!(opened.text, phone);
}

#[tokio::test]
async fn ten_failures_drop_the_keys_until_the_next_login_also_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    let good = data("user-alice", "alice");
    let app = TestApp::with(&[("SESSION_STORE", &file)]).await;
    let token = app.client.token("user-alice").await;
    let junk = encrypt(&[7; 16], "{}");
    for _ in 0..9 {
        app.client.decrypt(&token, &junk).await.assert_status(422);
    }
    app.client.decrypt(&token, &good).await.assert_status(200);
    app.stop().await;
    let app = TestApp::with(&[("SESSION_STORE", &file)]).await;
    app.client.decrypt(&token, &good).await.assert_status(200);
    app.client.decrypt(&token, &junk).await.assert_status(422);
    app.client.decrypt(&token, &good).await.assert_status(422);
    // The session stays alive, and the next login stores a key.
    app.client.session(&token).await.assert_status(200);
    app.client.login("user-alice.2").await.assert_status(200);
    let fresh = data("user-alice.2", "alice");
    app.client.decrypt(&token, &fresh).await.assert_status(200);
    app.client.decrypt(&token, &good).await.assert_status(422);
}

#[tokio::test]
async fn bodies_and_callers_that_are_not_taken() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    for path in ["/session/decrypt", "/session/verify"] {
        for body in [
            &b""[..],
            b"{",
            b"null",
            b"[]",
            br#"["",""]"#,
            br#"[{"encryptedData":"","iv":"","rawData":"","signature":""}]"#,
            b"{}",
            br#"{"encryptedData":"","rawData":""}"#,
            br#"{"encryptedData":1,"iv":"","rawData":1,"signature":""}"#,
            br#"{"iv":"","iv":"","encryptedData":"","rawData":"","rawData":"","signature":""}"#,
            br#"{"encryptedData":"\ud800","iv":"","rawData":"\ud800","signature":""}"#,
            b"{\"encryptedData\":\"\xff\",\"iv\":\"\",\"rawData\":\"\xff\",\"signature\":\"\"}",
            b"encryptedData=AA&iv=AA&rawData=AA&signature=AA",
        ] {
            let answer = app.client.post(path, &token, body).await;
            answer.assert_problem(400, "malformed_body", "fix_request");
        }
        let large = vec![b' '; 64 * 1024 + 1];
        let answer = app.client.post(path, &token, large).await;
        answer.assert_problem(413, "body_too_large", "fix_request");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n"
        );
        let chunk = "x".repeat(0x8000);
        let chunked = format!(
            "{head}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
            format!("8000\r\n{chunk}\r\n").repeat(3)
        );
        let answer = exchange_bytes(&app, chunked.as_bytes()).await;
        assert!(answer.contains(r#""code":"body_too_large""#), "{answer}");
        let answer = app.client.post(path, "wxs_x", "{}").await;
        answer.assert_problem(401, "invalid_token", "login_again");
        let answer = app.client.get(path).await;
        answer.assert_problem(405, "method_not_allowed", "fix_request");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    // A request that never ends does not block others for ever.
    let unfinished = format!(
        "POST /session/decrypt HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n{{"
    );
    let answer = exchange_bytes(&app, unfinished.as_bytes()).await;
    assert!(answer.contains(r#""code":"malformed_body""#), "{answer}");
    // Other fields are ignored: wx.getUserInfo gives all four together.
    let (data, iv) = data("user-alice", "alice");
    let body = json!({"encryptedData": data, "iv": iv, "rawData": "", "signature": ""});
    let opened = app
        .client
        .post("/session/decrypt", &token, body.to_string())
        .await;
    opened.assert_status(200);
    assert_eq!(opened.json()["openId"], Value::from(openid("alice")));
}
