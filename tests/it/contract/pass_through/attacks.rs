//! Attacks by a backend that passes on what it should not, and by what stands in WeChat's place.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::upstream::{Script, Upstream, ok, raw, request};
use super::{CHECK, CODE, get, post, start};
use crate::fake_wechat::{APPID, OTHER_APPID};
use crate::support::app::TestApp;
use crate::support::backend::TOKEN;

/// Spellings of paths that must reach nothing: of forbidden ones, and of a listed one that is spelled otherwise.
fn spellings() -> Vec<String> {
    let forbidden = [
        "/cgi-bin/token",
        "/cgi-bin/stable_token",
        "/sns/jscode2session",
        "/wxa/checksession",
        "/wxa/resetusersessionkey",
        "/tcb/databasequery",
        "/cgi-bin/clear_quota",
        "/cgi-bin/clear_quota/v2",
        "/cgi-bin/ticket/getticket",
        "/cgi-bin/openapi/rid/get",
        "/wxa/business/getuserphonenumber",
        "/wxa/business/getuserencryptkey",
        "/cgi-bin/component/api_component_token",
        "/wxa/getsnticket",
        "/CGI-BIN/TOKEN",
        "/cgi-bin%2ftoken",
        "/%63gi-bin/token",
        "/cgi-bin/%74oken",
        "/cgi-bin//token",
        "/cgi-bin/./token",
        "/cgi-bin/token/",
        "/cgi-bin/token%00",
        "/cgi-bin/token;x",
        "/cgi-bin\\token",
    ];
    let after_listed = [
        "/../../cgi-bin/token",
        "/%2e%2e/%2e%2e/cgi-bin/token",
        "/..%2f..%2fcgi-bin%2ftoken",
        "/%252e%252e/cgi-bin/token",
        "/..;/..;/cgi-bin/token",
        "/.%2e/.%2e/cgi-bin/token",
        "/..\\..\\cgi-bin\\token",
        "%2f..%2f..%2fcgi-bin%2ftoken",
        "/",
        "//",
        "/.",
        "/..",
        "/x",
        "%20",
        "%00",
        "%0a",
        "%0d%0aHost:%20evil",
        ";x=1",
        ".json",
        "%3faccess_token=x",
        "%23",
        "\\",
        "%5c..%5c",
        "@evil.example",
        ":80",
        "%E2%81%84",
    ];
    let listed = [
        "/WXA/msg_sec_check",
        "/wxa/MSG_sec_check",
        "//wxa/msg_sec_check",
        "/wxa//msg_sec_check",
        "/wxa/./msg_sec_check",
        "/x/../wxa/msg_sec_check",
        "/wxa/msg%5fsec_check",
        "/%77xa/msg_sec_check",
        "/wxa%2fmsg_sec_check",
        "/wxa/msg_sec_chec",
        "/wxa",
        "/wxa/",
        "/wxa/*",
        "/*",
        "/wxa/msg_sec_check,/wxa/getwxacodeunlimit",
        "/@evil.example/wxa/msg_sec_check",
        "/http://evil.example/",
        "//evil.example/wxa/msg_sec_check",
    ];
    let beside = after_listed.iter().map(|end| format!("{CHECK}{end}"));
    let others = forbidden.iter().chain(&listed).map(|it| (*it).to_owned());
    others.chain(beside).collect()
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_anything_that_is_not_listed() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let all = spellings();
    assert!(all.len() >= 60, "{}", all.len());
    for path in &all {
        for method in ["GET", "POST"] {
            let answer = raw(app.internal.addr, &request(method, path, b"{}")).await;
            let expected = ["\"path_not_allowed\"", "\"not_found\""];
            assert!(
                matches!(answer.status, 403 | 404)
                    && expected.iter().any(|it| answer.text().contains(it)),
                "{path}: {answer:?}"
            );
            assert!(answer.status == 404 || answer.text().contains("INTERNAL_WECHAT_PATHS"));
        }
    }
    assert_eq!((upstream.calls().len(), upstream.fetches()), (0, 0));
}

#[tokio::test]
async fn no_other_mini_program_host_or_method_is_reached() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let upper = APPID.to_uppercase();
    let encoded = APPID.replacen('w', "%77", 1);
    for appid in [
        OTHER_APPID,
        &*upper,
        &*encoded,
        ".",
        "..",
        "x%2f",
        "*",
        "wx",
        &format!("{APPID}%20"),
    ] {
        let head = format!(
            "GET /wechat/{appid}{CHECK} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(app.internal.addr, head.as_bytes()).await;
        assert_eq!(answer.status, 404, "{appid}: {answer:?}");
        assert!(
            answer.text().contains("\"unknown_app\""),
            "{appid}: {answer:?}"
        );
    }
    for method in [
        "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "PROPFIND",
    ] {
        let answer = raw(app.internal.addr, &request(method, CHECK, b"")).await;
        assert_eq!(
            (answer.status, answer.header("allow").as_deref()),
            (405, Some("GET,POST")),
            "{method}: {answer:?}"
        );
    }
    for target in [
        format!("http://evil.example/wechat/{APPID}{CHECK}"),
        format!("//evil.example/wechat/{APPID}{CHECK}"),
    ] {
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(app.internal.addr, head.as_bytes()).await;
        // The host of a request means nothing: it goes to WeChat or nowhere.
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
    }
    let answer = app.client.get(&format!("/wechat/{APPID}{CHECK}")).await;
    answer.assert_problem(404, "not_found", "fix_request");
    let answer = app.internal.get(&format!("/wechat/{APPID}{CHECK}")).await;
    answer.assert_problem(401, "invalid_internal_token", "fix_request");
    assert!(upstream.calls().len() <= 1);
}

#[tokio::test]
async fn no_parameter_smuggles_a_token_or_another_app() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    for query in [
        "access_token=x",
        "access_token",
        "access_token=",
        "a=1&access_token=x",
        "&&access_token=x",
        "a;access_token=x",
        "ACCESS_TOKEN=x",
        "Access_Token=x",
        "%61ccess_token=x",
        "access%5ftoken=x",
        "access%5Ftoken=x",
        "%2561ccess_token=x",
        "%252561ccess_token=x",
        "+access_token=x",
        "%20access_token=x",
        "access_token%20=x",
        "access_token%00=x",
        "%00access_token=x",
        "access_token[]=x",
        "access_token%5b%5d=x",
        "access_token%3dx",
        "a%26access_token=x",
        "cloudbase_access_token=x",
        "component_access_token=x",
        "authorizer_access_token=x",
        "from_appid=wx1",
        "from%5fappid=wx1",
        "FROM_APPID=wx1",
        "authorizer_access_toke%6e=x",
        "%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x",
        // A name is not decoded.
        "%74oken=x",
        // Characters that a URL library would change.
        "a='x'",
    ] {
        let target = format!("{CHECK}?{query}");
        let answer = raw(app.internal.addr, &request("POST", &target, b"{}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(
            answer.text().contains("\"malformed_query\""),
            "{query}: {answer:?}"
        );
    }
    for query in ["a=\u{e9}", "a=%\u{4f60}", "a=\"", "a=<x>"] {
        let target = format!("{CHECK}?{query}");
        let answer = raw(app.internal.addr, &request("POST", &target, b"{}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    assert_eq!((upstream.calls().len(), upstream.fetches()), (0, 0));
    // Values are the caller's business, and a fragment is no part of a request.
    for query in [
        "token=x",
        "img_url=https%3A%2F%2Fx%3Faccess_token%3Dy",
        "a=access_token",
        "env=0&name=from",
    ] {
        get(&app, &format!("{CHECK}?{query}"))
            .await
            .assert_status(200);
    }
    assert_eq!(upstream.calls().len(), 4);
}

#[tokio::test]
async fn two_lengths_and_other_bodies_that_end_in_two_ways_are_refused() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let head = format!(
        "POST /wechat/{APPID}{CHECK} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n"
    );
    for ends in [
        "content-length: 2\r\ncontent-length: 40\r\n",
        "content-length: 40\r\ncontent-length: 2\r\n",
        "content-length: 2, 40\r\n",
        "content-length: +2\r\n",
        "content-length: 0x2\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: gzip, identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
    ] {
        let bytes =
            format!("{head}{ends}\r\n{{}}GET /wechat/{APPID}/cgi-bin/token HTTP/1.1\r\n\r\n");
        let answer = raw(app.internal.addr, bytes.as_bytes()).await;
        assert_eq!(answer.status, 400, "{ends}: {answer:?}");
    }
    assert_eq!(upstream.calls().len(), 0);
    // Chunks win over a length (RFC 9112, 6.3), here and for what is sent on: one body, one length.
    let both = format!(
        "{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let answer = raw(app.internal.addr, both.as_bytes()).await;
    let calls = upstream.calls();
    assert!(
        answer.status == 400
            || (calls.len() == 1
                && calls[0].body == b"abc"
                && calls[0].header("content-length").as_deref() == Some("3")),
        "{answer:?} {calls:?}"
    );
}

#[tokio::test]
async fn a_body_of_10_mb_is_sent_on_and_a_larger_or_broken_one_is_not() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    post(&app, CHECK, vec![b'x'; 10_000_000])
        .await
        .assert_status(200);
    assert_eq!(upstream.calls()[0].body.len(), 10_000_000);
    // Announced: refused before a byte of it comes.
    let head = format!(
        "POST /wechat/{APPID}{CHECK} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 10000001\r\n\r\n"
    );
    let answer = raw(app.internal.addr, head.as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let chunked = head.replace("content-length: 10000001", "transfer-encoding: chunked");
    let mut chunked = chunked.into_bytes();
    for _ in 0..11 {
        chunked.extend(b"F4240\r\n");
        chunked.resize(chunked.len() + 1_000_000, b'x');
        chunked.extend(b"\r\n");
    }
    // The answer may be lost, as more comes than is read.
    let mut stream = TcpStream::connect(app.internal.addr).await.unwrap();
    let _ = stream.write_all(&chunked).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    // A body that ends early is not sent on.
    let mut half = TcpStream::connect(app.internal.addr).await.unwrap();
    half.write_all(head.replace("10000001", "100").as_bytes())
        .await
        .unwrap();
    half.write_all(b"{\"half\":").await.unwrap();
    drop(half);
    // Token and path are checked before a body is read: nobody waits for this one.
    for (from, to) in [(TOKEN, "another-internal-token"), (CHECK, "/wxa/other")] {
        let answer = raw(
            app.internal.addr,
            head.replace(from, to).replace("10000001", "100").as_bytes(),
        )
        .await;
        assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    }
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_slow_body_is_cut_off_after_ten_seconds_and_was_not_sent() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[("WECHAT_CALL_TIMEOUT", "300ms")]).await;
    let mut slow = TcpStream::connect(app.internal.addr).await.unwrap();
    let head = format!(
        "POST /wechat/{APPID}{CHECK} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = slow.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains(" 400 ") && answer.contains("malformed_body"),
        "{answer}"
    );
    assert_eq!(upstream.calls().len(), 0);
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn answers_that_are_not_wechats_or_would_pass_for_ours_are_502() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let token = upstream.token();
    let escaped = format!(r#"{{"errcode":0,"url":"https:\/\/x?access_token={token}"}}"#);
    let late = format!("{}{token}", "x".repeat(60_000));
    let big = format!("{{{}", " ".repeat(10_000_001));
    let status = |line: &str, rest: &str| format!("HTTP/1.1 {line}\r\n{rest}\r\n\r\n").into_bytes();
    for (name, bytes) in [
        ("echo", ok("application/json", token.as_bytes())),
        ("echo in JSON", ok("application/json", escaped.as_bytes())),
        (
            "echo as text",
            ok("text/html", format!("<p>{token}</p>").as_bytes()),
        ),
        (
            "echo in JSON that says it is an image",
            ok(
                "image/png",
                format!(" \r\n{{\"a\":\"{token}\"}}").as_bytes(),
            ),
        ),
        (
            "echo in the first bytes of an image",
            ok("image/png", format!("PNG{token}").as_bytes()),
        ),
        (
            "echo without a type",
            ok("", format!("{{\"a\":\"{token}\"}}").as_bytes()),
        ),
        ("echo after 60 KB", ok("text/plain", late.as_bytes())),
        (
            "echo in a header",
            status(
                "200 OK",
                &format!("content-disposition: {token}\r\ncontent-length: 0"),
            ),
        ),
        (
            "echo in our header",
            status(
                "200 OK",
                &format!("wechatmp-x: {token}\r\ncontent-length: 0"),
            ),
        ),
        (
            "301",
            status(
                "301 Moved",
                "location: http://127.0.0.1:1/\r\ncontent-length: 0",
            ),
        ),
        (
            "302 to itself",
            status("302 Found", "location: /cgi-bin/token\r\ncontent-length: 0"),
        ),
        (
            "307",
            status(
                "307 Temporary",
                "location: https://evil.example/\r\ncontent-length: 0",
            ),
        ),
        ("304", status("304 Not Modified", "content-length: 0")),
        (
            "101",
            status(
                "101 Switching Protocols",
                "upgrade: websocket\r\nconnection: upgrade",
            ),
        ),
        (
            "gzip",
            status("200 OK", "content-encoding: gzip\r\ncontent-length: 0"),
        ),
        (
            "problem",
            ok(
                "application/problem+json",
                br#"{"code":"invalid_token","action":"login_again"}"#,
            ),
        ),
        (
            "Problem",
            ok("Application/Problem+JSON ; charset=utf-8", b"{}"),
        ),
        (
            "two lengths",
            status("200 OK", "content-length: 1\r\ncontent-length: 2"),
        ),
        (
            "too large",
            status(
                "200 OK",
                "content-type: image/png\r\ncontent-length: 10000001",
            ),
        ),
        ("too large JSON", ok("application/json", big.as_bytes())),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
    ] {
        upstream.answer(Script::Send(bytes));
        let answer = post(&app, CHECK, "{}").await;
        answer.assert_problem(502, "upstream_invalid", "give_up");
        assert!(!answer.text.contains(&token), "{name}");
    }
    assert_eq!(upstream.calls().len(), 21, "no redirect is followed");
}

#[tokio::test]
async fn a_token_in_the_first_64_kib_of_any_body_does_not_get_out() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let token = upstream.token();
    for (kind, before) in [
        ("image/png", 65_400),
        ("application/json", 65_400),
        ("text/plain", 60_000),
        ("", 0),
    ] {
        let mut body = vec![b'x'; before];
        body.extend(token.bytes());
        body.extend(vec![b'y'; 100_000]);
        upstream.answer(Script::Send(ok(kind, &body)));
        let got = raw(app.internal.addr, &request("POST", CODE, b"{}")).await;
        assert!(!got.text().contains(&token), "{kind}");
        assert_eq!(got.status, 502, "{kind}: {}", got.head);
    }
    // Large text without it comes whole.
    let list = format!("{{\"orders\":[{}1]}}", "1,".repeat(500_000));
    upstream.answer(Script::Send(ok("application/json", list.as_bytes())));
    assert_eq!(post(&app, CHECK, "{}").await.text, list);
}

#[tokio::test]
async fn an_image_without_an_end_is_cut_off_at_10_mb() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let mut image =
        b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nconnection: close\r\n\r\n".to_vec();
    image.resize(image.len() + 12_000_000, b'x');
    upstream.answer(Script::Send(image));
    let bearer = format!("Bearer {TOKEN}");
    let path = format!("/wechat/{APPID}{CODE}");
    let cut = app
        .internal
        .try_send(Method::GET, &path, &[("authorization", &bearer)])
        .await;
    assert!(cut.is_err());
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot_and_ends_no_fetch_of_a_token() {
    let upstream = Upstream::start().await;
    let app: TestApp = start(&upstream, &[("WECHAT_CALL_TIMEOUT", "60s")]).await;
    upstream.answer(Script::Drip(
        [
            &b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9999999\r\n\r\n"[..],
            &vec![7; 100_000],
        ]
        .concat(),
    ));
    for round in 1..=32 {
        let mut stream = TcpStream::connect(app.internal.addr).await.unwrap();
        stream
            .write_all(&request("POST", CODE, b"{}"))
            .await
            .unwrap();
        upstream.wait_for(round).await;
        drop(stream);
    }
    upstream.answer(Script::Send(ok("text/plain", b"{}")));
    while post(&app, CHECK, "{}").await.status != 200 {}
    assert_eq!(upstream.fetches(), 1);
}
