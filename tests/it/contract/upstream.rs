//! Answers of WeChat that it does not document: they are reported, and the service stays up.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fake_wechat::openid;
use crate::support::app::TestApp;
use crate::support::backend::{self, Backend};
use crate::support::client::Answer;

/// What the upstream server does with a connection after it has read a request.
#[derive(Clone, Copy)]
enum Then {
    Close,
    Hold,
    /// Sends the last bytes one at a time, 50 ms apart, for ever.
    Drip,
    /// Sends them without end, as fast as it can.
    Flood,
}

/// Answers every connection with the same bytes. Returns its base URL.
async fn answering(bytes: impl Into<Vec<u8>>, then: Then) -> String {
    answering_but(None, bytes, then).await
}

/// The same, but for requests for an `access_token`, if there is another answer for them.
async fn answering_but(
    with_token: Option<&'static str>,
    bytes: impl Into<Vec<u8>>,
    then: Then,
) -> String {
    let bytes = bytes.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, bytes.clone(), then, with_token));
        }
    });
    base
}

async fn answer(
    mut stream: TcpStream,
    bytes: Vec<u8>,
    then: Then,
    with_token: Option<&str>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let wants_token = request.starts_with(b"POST /cgi-bin/stable_token");
    if wants_token && let Some(token) = with_token {
        // Announced: the next request must not go to this connection.
        let headers = "content-type: text/plain\r\nconnection: close\r\n";
        return stream.write_all(&http("200 OK", headers, token)).await;
    }
    stream.write_all(&bytes).await?;
    match then {
        Then::Close => Ok(()),
        Then::Hold => pending().await,
        Then::Drip => loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(b" ").await?;
        },
        Then::Flood => loop {
            stream.write_all(&[b' '; 8192]).await?;
        },
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

fn ok(body: &str) -> Vec<u8> {
    http("200 OK", "content-type: text/plain\r\n", body)
}

const KEY: &str = "HyVFkGl5F5OQWJZZaNzBBg==";

#[tokio::test]
async fn a_body_that_wechat_does_not_document_is_invalid() {
    let long = "o".repeat(129);
    let bodies = [
        String::new(),
        "{}".into(),
        "null".into(),
        "[]".into(),
        "<html></html>".into(),
        r#"{"openid":"o1","session_key""#.into(),
        format!(r#"{{"openid":"o1","session_key":"{KEY}"}} {{}}"#),
        format!(r#"{{"session_key":"{KEY}"}}"#),
        format!(r#"{{"openid":"","session_key":"{KEY}"}}"#),
        format!(r#"{{"openid":"o\r\nx: y","session_key":"{KEY}"}}"#),
        format!(r#"{{"openid":"{long}","session_key":"{KEY}"}}"#),
        format!(r#"{{"openid":7,"session_key":"{KEY}"}}"#),
        format!(r#"{{"openid":"o1","unionid":"é","session_key":"{KEY}"}}"#),
        r#"{"openid":"o1"}"#.into(),
        r#"{"openid":"o1","session_key":""}"#.into(),
        r#"{"openid":"o1","session_key":"AAAAAAAAAAAAAAAAAAAA"}"#.into(), // 15 bytes
        r#"{"openid":"o1","session_key":"AAAAAAAAAAAAAAAAAAAAAAA="}"#.into(), // 17 bytes
        r#"{"openid":"o1","session_key":"AAAAAAAAAAAAAAAAAAAAAAAA"}"#.into(), // 18 bytes
        r#"{"openid":"o1","session_key":"!!!!!!!!!!!!!!!!!!!!!!=="}"#.into(),
        r#"{"errcode":"busy"}"#.into(),
        r#"{"errcode":1.5}"#.into(),
        format!(
            r#"{{"openid":"o1","session_key":"{KEY}","x":"{}"}}"#,
            "x".repeat(65_536)
        ),
    ];
    for body in bodies {
        let answer = login_at(answering(ok(&body), Then::Close).await).await;
        assert_eq!(answer.status, 502, "{body}");
        answer.assert_problem(502, "upstream_invalid", "login_again");
    }
}

#[tokio::test]
async fn a_broken_answer_is_told_within_the_timeout_and_does_no_harm() {
    let fine = format!(r#"{{"openid":"o1","session_key":"{KEY}"}}"#);
    let redirect = http("302 Found", "location: http://127.0.0.1:1/\r\n", &fine);
    let cut_off = &ok(&fine)[..90];
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let bad_chunk = format!("{chunked}zz\r\n");
    let rows = [
        (
            "not UTF-8",
            &[ok("xx"), vec![0xff; 2]].concat()[..],
            Then::Close,
            "upstream_invalid",
        ),
        (
            "201",
            &http("201 Created", "", &fine),
            Then::Close,
            "upstream_invalid",
        ),
        (
            "404",
            &http("404 Not Found", "", &fine),
            Then::Close,
            "upstream_invalid",
        ),
        (
            "500",
            &http("500 Oh", "", &fine),
            Then::Close,
            "upstream_invalid",
        ),
        ("a redirect", &redirect, Then::Close, "upstream_invalid"),
        (
            "a bad chunk",
            bad_chunk.as_bytes(),
            Then::Close,
            "upstream_unreachable",
        ),
        (
            "a flood",
            b"HTTP/1.1 200 OK\r\n\r\n",
            Then::Flood,
            "upstream_invalid",
        ),
        (
            "not HTTP",
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            Then::Close,
            "upstream_invalid",
        ),
        (
            "no last chunk",
            chunked.as_bytes(),
            Then::Close,
            "upstream_unreachable",
        ),
        ("nothing, closed", b"", Then::Close, "upstream_unreachable"),
        ("cut off", cut_off, Then::Close, "upstream_unreachable"),
        ("nothing, open", b"", Then::Hold, "upstream_timeout"),
        (
            "half a header",
            b"HTTP/1.1 200 OK\r\ncont",
            Then::Hold,
            "upstream_timeout",
        ),
        (
            "a header that drips",
            b"HTTP/1.1 200 OK\r\nx: ",
            Then::Drip,
            "upstream_timeout",
        ),
        (
            "a body that drips",
            b"HTTP/1.1 200 OK\r\n\r\n",
            Then::Drip,
            "upstream_timeout",
        ),
    ];
    for (name, bytes, then, code) in rows {
        calls_at(name, bytes, then, code).await;
        let begin = Instant::now();
        let answer = login_at(answering(bytes, then).await).await;
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(answer.json()["code"], code, "{name}: {}", answer.text);
        let status = if code == "upstream_timeout" { 504 } else { 502 };
        answer.assert_problem(status, code, "login_again");
    }
}

/// The calls of a backend when WeChat gives this answer: first to the request for an `access_token`, then to
/// the phone code and to `checksession` only.
async fn calls_at(name: &str, bytes: &[u8], then: Then, code: &str) {
    let status = if code == "upstream_timeout" { 504 } else { 502 };
    let token = r#"{"access_token":"token","expires_in":7200}"#;
    for (with_token, action) in [(None, "retry_later"), (Some(token), "ask_again")] {
        let base = answering_but(with_token, bytes, then).await;
        let settings = [
            ("WECHAT_API_BASE", base.as_str()),
            ("WECHAT_TIMEOUT", "400ms"),
        ];
        let app = backend::start(&settings).await;
        let backend = Backend::of(&app);
        let begin = Instant::now();
        let answer = backend.phone("alice", "phone-alice").await;
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(answer.json()["code"], code, "{name}: {}", answer.text);
        answer.assert_problem(status, code, action);
        if with_token.is_none() {
            backend
                .access_token()
                .await
                .assert_problem(status, code, action);
        }
        app.client.get("/healthz").await.assert_status(200);
    }
}

#[tokio::test]
async fn a_body_that_wechat_does_not_document_is_invalid_for_the_backends_calls_too() {
    let token = r#"{"access_token":"token","expires_in":7200}"#;
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "<html></html>",
        r#"{"errcode":"busy"}"#,
        r#"{"errcode":null}"#,
        r#"{"errcode":1.5}"#,
        r#"{"access_token":"","expires_in":7200}"#,
        r#"{"access_token":"a b","expires_in":7200}"#,
        r#"{"access_token":"token"}"#,
        r#"{"access_token":"token","expires_in":0}"#,
        r#"{"access_token":"token","expires_in":-1}"#,
        r#"{"access_token":7,"expires_in":7200}"#,
    ] {
        for (with_token, action) in [(None, "retry_later"), (Some(token), "ask_again")] {
            let base = answering_but(with_token, ok(body), Then::Close).await;
            let app = backend::start(&[("WECHAT_API_BASE", &base)]).await;
            let answer = Backend::of(&app).phone("alice", "phone-alice").await;
            assert_eq!(answer.status, 502, "{body}");
            answer.assert_problem(502, "upstream_invalid", action);
        }
    }
}

#[tokio::test]
async fn checksession_is_not_taken_for_valid_without_an_errcode_of_0() {
    let token = r#"{"access_token":"token","expires_in":7200}"#;
    let wechat = crate::fake_wechat::FakeWechat::start().await;
    let redis = crate::support::redis_server::RedisServer::start();
    let store = ("SESSION_STORE", redis.url());
    let store = (store.0, store.1.as_str());
    let app = backend::start(&[("WECHAT_API_BASE", &wechat.base()), store]).await;
    app.client.token("user-alice").await;
    for (body, expected) in [
        (r#"{"errcode":0,"errmsg":"ok"}"#, Ok(true)),
        (r#"{"errcode":"0"}"#, Ok(true)),
        (
            r#"{"errcode":87009,"errmsg":"invalid signature"}"#,
            Ok(false),
        ),
        ("{}", Err((502, "upstream_invalid"))),
        (r#"{"errcode":null}"#, Err((502, "upstream_invalid"))),
        ("", Err((502, "upstream_invalid"))),
        (r#"{"errcode":87008}"#, Err((502, "upstream_error"))),
        (r#"{"errcode":40003}"#, Err((502, "upstream_error"))),
        (r#"{"errcode":45009}"#, Err((503, "quota_exhausted"))),
        (r#"{"errcode":45011}"#, Err((429, "rate_limited"))),
    ] {
        let base = answering_but(Some(token), ok(body), Then::Close).await;
        let app = backend::start(&[("WECHAT_API_BASE", &base), store]).await;
        let answer = Backend::of(&app).session_key("alice").await;
        match expected {
            Ok(valid) => assert_eq!(answer.json()["valid"], valid, "{body}: {}", answer.text),
            Err((status, code)) => {
                answer.assert_problem(status, code, "retry_later");
            }
        }
    }
}

/// A login at a service whose WeChat is at `base`; makes sure that the service is still up then.
async fn login_at(base: String) -> Answer {
    let settings = [
        ("WECHAT_API_BASE", base.as_str()),
        ("WECHAT_TIMEOUT", "400ms"),
    ];
    let app = TestApp::with(&settings).await;
    let answer = app.client.login("user-alice").await;
    app.client.get("/healthz").await.assert_status(200);
    answer
}

#[tokio::test]
async fn loose_but_documented_answers_are_read() {
    let rows = [
        format!(r#"{{"errcode":0,"errmsg":"ok","openid":"o1","session_key":"{KEY}"}}"#),
        format!(r#"{{"errcode":"0","openid":"o1","session_key":"{KEY}","unionid":""}}"#),
        format!(r#"{{"errcode":null,"openid":"o1","unionid":null,"session_key":"{KEY}"}}"#),
        format!(r#" {{"expires_in":7200,"new":{{"a":[1]}},"session_key":"{KEY}","openid":"o1"}} "#),
        r#"{"session_key":"\/\/\/\/AAAAAAAAAAAAAAAAAA==","openid":"o1"}"#.to_owned(),
    ];
    for body in rows {
        let base = answering(ok(&body), Then::Close).await;
        let app = TestApp::with(&[("WECHAT_API_BASE", &base)]).await;
        let answer = app.client.login("user-alice").await;
        answer.assert_status(200);
        assert_eq!(answer.json()["openid"], "o1");
        assert!(answer.json().get("unionid").is_none());
    }
    let refused = ok(r#"{"errcode": "40029", "errmsg": "invalid code"}"#);
    let base = answering(refused, Then::Close).await;
    let app = TestApp::with(&[("WECHAT_API_BASE", &base)]).await;
    let answer = app.client.login("user-alice").await;
    answer.assert_problem(400, "invalid_code", "login_again");
}

/// An answer in gzip, which a gateway may send to clients that do not ask for `identity`.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabV*.M\x02\0";

#[tokio::test]
async fn an_answer_without_compression_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let fine = format!("\u{feff}{{\"openid\":\"o1\",\"session_key\":\"{KEY}\"}}");
            let bytes = if head.contains("\r\naccept-encoding: identity\r\n") {
                http("200 OK", "content-encoding: identity\r\n", &fine)
            } else {
                [
                    &b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n"[..],
                    GZIP,
                ]
                .concat()
            };
            stream.write_all(&bytes).await.unwrap();
        }
    });
    let app = TestApp::with(&[("WECHAT_API_BASE", &base)]).await;
    app.client.login("user-alice").await.assert_status(200);

    let anyway = [
        &b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n"[..],
        GZIP,
    ]
    .concat();
    let answer = login_at(answering(anyway, Then::Close).await).await;
    answer.assert_problem(502, "upstream_invalid", "login_again");
}

#[tokio::test]
async fn an_api_base_may_have_a_path() {
    let app = TestApp::start().await;
    let behind = axum::Router::new().nest("/proxied/wechat", app.wechat.router());
    let base = serve(behind).await;
    for base in [
        format!("{base}/proxied/wechat"),
        format!("{base}/proxied/wechat/"),
    ] {
        let app = TestApp::with(&[("WECHAT_API_BASE", &base)]).await;
        let name = base.len();
        let answer = app.client.login(&format!("user-{name}")).await;
        answer.assert_status(200);
        assert_eq!(answer.json()["openid"], openid(&name.to_string()));
    }
}

async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(crate::fake_wechat::serve(listener, router));
    base
}
