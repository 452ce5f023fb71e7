//! Calls that are passed through to WeChat: what goes out, what comes back, and attacks on both.

mod attacks;
mod upstream;

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::fake_wechat::APPID;
use crate::support::app::{TestApp, vars};
use crate::support::backend::{Backend, TOKEN};
use crate::support::client::Answer;
use crate::support::metrics::numbers;
use crate::support::ports::nobody;
use crate::support::process::Process;
use upstream::{Script, Upstream, ok};

const CHECK: &str = "/wxa/msg_sec_check";
const CODE: &str = "/wxa/getwxacodeunlimit";
const XPAY: &str = "/xpay/query_user_balance";
const PATHS: &str =
    "/wxa/msg_sec_check, /wxa/getwxacodeunlimit,/xpay/query_user_balance,/cgi-bin/media/get";

/// A service that passes these paths through to `upstream`.
async fn start(upstream: &Upstream, settings: &[(&str, &str)]) -> TestApp {
    let base = upstream.base();
    let ours = [
        ("INTERNAL_TOKEN", TOKEN),
        ("INTERNAL_WECHAT_PATHS", PATHS),
        ("WECHAT_API_BASE", &base),
    ];
    TestApp::with(&[&ours[..], settings].concat()).await
}

async fn post(app: &TestApp, target: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("/wechat/{APPID}{target}");
    app.internal.post(&path, TOKEN, body).await
}

async fn get(app: &TestApp, target: &str) -> Answer {
    let path = format!("/wechat/{APPID}{target}");
    Backend::of(app).ask(Method::GET, &path).await
}

#[tokio::test]
async fn query_and_body_go_out_and_the_answer_comes_back_to_the_byte() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    // A number beyond 2^53, and spaces that a parser would not keep.
    let text =
        "{ \"errcode\":0,\r\n \"msgid\":1988810812324364291, \"text\":\"\u{4f60}\\u4f60\\/\" }";
    let mut answer = ok("application/json; encoding=utf-8", text.as_bytes());
    let head = "Num-Used: 7\r\nLogicRet: 0\r\nRetKey: 11\r\nWechatmp-Signature: s+/=\r\nSet-Cookie: a=b\r\n\
        Location: /x\r\nX-WX-OPENID: o\r\nX-Request-Id: theirs\r\nServer: nginx\r\nContent-Disposition: attachment; filename=\"a.json\"\r\n";
    answer.splice(17..17, head.bytes());
    upstream.answer(Script::Send(answer));
    let body = "{\"openid\":\"oA\",  \"b\":[1.0,1e3],\"\u{8bcd}\":\"\u{8bcd}\"}";
    let target = format!(
        "{XPAY}?pay_sig=a%2Fb&signature=x+y&&empty&img_url=http%3A%2F%2Fx%3Fa%3D1%26b;~!$()*,:@/?[]{{}}|`^\\"
    );
    let request = format!(
        "POST /wechat/{APPID}{target} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {TOKEN}\r\ncookie: c=d\r\n\
         forwarded: for=1\r\nx-forwarded-for: 1.2.3.4\r\nx-wx-openid: o\r\nuser-agent: shop\r\naccept-encoding: gzip\r\n\
         te: trailers\r\nWechatmp-Appid: {APPID}\r\nwechatmp-signature: one\r\nwechatmp-signature: two\r\n\
         content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let got = upstream::raw(app.internal.addr, request.as_bytes()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.body, text.as_bytes());
    for (name, value) in [
        ("content-type", Some("application/json; encoding=utf-8")),
        ("num-used", Some("7")),
        ("logicret", Some("0")),
        ("retkey", Some("11")),
        ("wechatmp-signature", Some("s+/=")),
        (
            "content-disposition",
            Some("attachment; filename=\"a.json\""),
        ),
        ("cache-control", Some("no-store")),
        ("set-cookie", None),
        ("location", None),
        ("x-wx-openid", None),
        ("server", None),
    ] {
        assert_eq!(got.header(name).as_deref(), value, "{name}");
    }
    assert_ne!(got.header("x-request-id").as_deref(), Some("theirs"));
    let calls = upstream.calls();
    let [call] = &calls[..] else {
        panic!("{calls:?}");
    };
    let line = format!("POST {target}&access_token={} HTTP/1.1", upstream.token());
    assert_eq!(call.head.lines().next(), Some(&*line));
    assert_eq!(call.body, body.as_bytes());
    let mut headers: Vec<_> = call
        .head
        .lines()
        .skip(1)
        .filter(|it| !it.is_empty())
        .collect();
    headers.sort_unstable();
    let length = format!("content-length: {}", body.len());
    let host = format!("host: {}", upstream.base().replace("http://", ""));
    let appid = format!("wechatmp-appid: {APPID}");
    let wanted = [
        "accept-encoding: identity",
        "accept: */*",
        &*length,
        "content-type: application/json; charset=utf-8",
        &*host,
        &*appid,
        "wechatmp-signature: one",
        "wechatmp-signature: two",
    ];
    assert_eq!(headers, wanted);
}

#[tokio::test]
async fn a_get_has_no_body_an_empty_post_has_a_length_and_so_has_one_in_chunks() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    get(&app, "/cgi-bin/media/get?media_id=m")
        .await
        .assert_status(200);
    get(&app, "/cgi-bin/media/get?").await.assert_status(200);
    post(&app, CHECK, "").await.assert_status(200);
    let chunked = upstream::request("POST", CHECK, b"5\r\npart,\r\n5\r\npart,\r\n0\r\n\r\n");
    let chunked = String::from_utf8(chunked).unwrap();
    let chunked = chunked.replace("content-length: 25", "transfer-encoding: chunked");
    let answer = upstream::raw(app.internal.addr, chunked.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let calls = upstream.calls();
    let lengths: Vec<_> = calls
        .iter()
        .map(|call| call.header("content-length"))
        .collect();
    assert_eq!(lengths, [None, None, Some("0".into()), Some("10".into())]);
    assert!(
        calls
            .iter()
            .all(|call| call.header("transfer-encoding").is_none())
    );
    assert_eq!(calls[3].body, b"part,part,");
    let line = format!(
        "GET /cgi-bin/media/get?access_token={} HTTP/1.1",
        upstream.token()
    );
    assert_eq!(calls[1].head.lines().next(), Some(&*line));
}

#[tokio::test]
async fn images_are_streamed_and_keep_their_bytes_and_their_length() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    let image: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number % 251) as u8 | 1)
        .collect();
    upstream.answer(Script::Send(ok("image/jpeg", &image)));
    let got = upstream::raw(app.internal.addr, &upstream::request("POST", CODE, b"{}")).await;
    assert_eq!(
        (got.status, got.header("content-length")),
        (200, Some("3000000".into()))
    );
    assert!(got.body == image);
    // Without a length it ends with the connection, and comes in chunks.
    let mut endless =
        b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nconnection: close\r\n\r\n\x89PNG".to_vec();
    endless.extend(&image);
    upstream.answer(Script::Send(endless));
    let answer = app
        .internal
        .post(&format!("/wechat/{APPID}{CODE}"), TOKEN, "{}")
        .await;
    assert_eq!(answer.header("content-type"), Some("image/png"));
    assert_eq!(answer.header("content-length"), None);
}

#[tokio::test]
async fn wechats_errors_are_answers_of_any_status_and_none_pauses_logins_or_other_calls() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    for (status, errcode) in [
        ("200 OK", 45009),
        ("200 OK", -1),
        ("500 Oops", 47001),
        ("418 No", 1),
        ("413 Big", 268_490_003),
    ] {
        let text = json!({"errcode": errcode, "errmsg": "no, rid: 66c69111-5ccc9dc8-0fd94c9e"})
            .to_string();
        let mut bytes = ok("text/plain", text.as_bytes());
        bytes.splice(9..15, status.bytes());
        upstream.answer(Script::Send(bytes));
        let answer = post(&app, CHECK, "{}").await;
        assert_eq!(answer.status.as_u16().to_string(), status[..3]);
        assert_eq!(
            (answer.text.as_str(), answer.header("content-type")),
            (&*text, Some("text/plain"))
        );
    }
    assert_eq!(upstream.calls().len(), 5, "nothing is sent twice");
    let metrics = app.internal.get("/metrics").await.text;
    let labels = format!("appid=\"{APPID}\",call=\"{CHECK}\"");
    for (series, count) in [
        (format!("refusals_total{{{labels},errcode=\"45009\"}}"), 1),
        (format!("refusals_total{{{labels},errcode=\"-1\"}}"), 1),
        (format!("refusals_total{{{labels},errcode=\"other\"}}"), 3),
        (
            format!("calls_total{{{labels},outcome=\"upstream_error\"}}"),
            3,
        ),
        (format!("calls_total{{{labels},outcome=\"ok\"}}"), 0),
    ] {
        let line = format!("wxlogin_wechat_{series} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    // A status that is none of ours is one series.
    let route = "method=\"POST\",route=\"/wechat/{appid}/{*path}\",status=\"other\"} 0";
    assert!(!metrics.contains("status=\"418\"") && !metrics.contains(route));
    upstream.answer(Script::Send(ok("application/json", b"{}")));
    post(&app, CHECK, "{}").await.assert_status(200);
}

#[tokio::test]
async fn a_token_that_wechat_calls_invalid_is_replaced_and_the_call_repeated_once_with_the_same_bytes()
 {
    for errcode in [40001, 40014, 42001] {
        let upstream = Upstream::start().await;
        let app = start(&upstream, &[]).await;
        post(&app, CHECK, "{}").await.assert_status(200);
        upstream.kill_token(errcode);
        let body = "{ \"a\" : 1 }";
        post(&app, &format!("{XPAY}?pay_sig=%61"), body)
            .await
            .assert_status(200);
        let calls = upstream.calls();
        assert_eq!((calls.len(), upstream.fetches()), (3, 2), "{errcode}");
        let rest = |call: &upstream::Call| {
            let (line, headers) = call.head.split_once('\n').unwrap();
            (
                line.split("&access_token").next().unwrap().to_owned(),
                headers.to_owned(),
                call.body.clone(),
            )
        };
        assert_eq!(rest(&calls[1]), rest(&calls[2]));
    }
    // Not in a part of the answer, not for other numbers, and not for an image.
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    for (kind, body) in [
        (
            "application/json",
            r#"{"errcode":0,"detail":[{"errcode":40001}]}"#,
        ),
        ("application/json", r#"{"errcode":41001}"#),
        ("application/json", r#"[{"errcode":40001}]"#),
        ("image/png", r#"PNG{"errcode":40001}"#),
        ("text/html", "<p>40001</p>"),
    ] {
        upstream.answer(Script::Send(ok(kind, body.as_bytes())));
        let answer = post(&app, CHECK, "{}").await;
        assert_eq!(answer.assert_status(200).text, body);
    }
    assert_eq!((upstream.calls().len(), upstream.fetches()), (5, 1));
}

#[tokio::test]
async fn the_same_invalid_token_again_is_wechats_answer() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    upstream.answer(Script::Send(ok(
        "application/json",
        br#"{"errcode":40001}"#,
    )));
    let answer = post(&app, CHECK, "{}").await;
    assert_eq!(answer.assert_status(200).text, r#"{"errcode":40001}"#);
    assert_eq!((upstream.calls().len(), upstream.fetches()), (1, 2));
}

#[tokio::test]
async fn three_hundred_calls_at_once_on_a_dead_token_make_one_fetch() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[]).await;
    post(&app, CHECK, "{}").await.assert_status(200);
    upstream.kill_token(40001);
    let calls = futures_util::future::join_all((0..300).map(|_| post(&app, CHECK, "{}"))).await;
    let (good, refused): (Vec<_>, Vec<_>) = calls.iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        answer.assert_problem(503, "overloaded", "retry_later");
    }
    for answer in &good {
        assert_eq!(answer.text, "{\"errcode\":0}");
    }
    assert!(good.len() >= 32, "{}", good.len());
    assert_eq!(upstream.fetches(), 2);
}

#[tokio::test]
async fn calls_have_slots_of_their_own_which_end_with_the_answer_or_the_client() {
    let upstream = Upstream::start().await;
    let app = start(&upstream, &[("WECHAT_CALL_TIMEOUT", "3s")]).await;
    upstream.answer(Script::Hold);
    let internal = app.internal.clone();
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let internal = internal.clone();
            tokio::spawn(async move {
                internal
                    .post(&format!("/wechat/{APPID}{CHECK}"), TOKEN, "{}")
                    .await
            })
        })
        .collect();
    upstream.wait_for(32).await;
    post(&app, CHECK, "{}")
        .await
        .assert_problem(503, "overloaded", "retry_later");
    let phone = Backend::of(&app).phone("alice", "x").await;
    assert_ne!(phone.json()["code"], "overloaded", "{}", phone.text);
    for call in &calls {
        call.abort();
    }
    upstream.answer(Script::Send(ok("text/plain", b"{}")));
    // A closed connection is noticed when something is sent on it, which is then at the latest.
    while post(&app, CHECK, "{}").await.status != 200 {}
    assert_eq!(upstream.fetches(), 1);
}

#[tokio::test]
async fn what_was_not_sent_goes_to_the_next_host_and_what_may_have_been_is_not_repeated() {
    let upstream = Upstream::start().await;
    let nobody = nobody();
    let bases = format!("http://{nobody},{}", upstream.base());
    let app = start(
        &upstream,
        &[
            ("WECHAT_API_BASE", &bases),
            ("WECHAT_CALL_TIMEOUT", "500ms"),
        ],
    )
    .await;
    post(&app, CHECK, "{}").await.assert_status(200);
    upstream.answer(Script::Send(Vec::new()));
    post(&app, CHECK, "{}")
        .await
        .assert_problem(502, "upstream_unreachable", "give_up");
    upstream.answer(Script::Hold);
    let late = post(&app, CHECK, "{}").await;
    late.assert_problem(504, "upstream_timeout", "give_up");
    assert!(late.text.contains("may have been done"), "{}", late.text);
    assert_eq!(upstream.calls().len(), 3);

    let app = start(
        &upstream,
        &[("WECHAT_API_BASE", &format!("http://{nobody}"))],
    )
    .await;
    let gone = post(&app, CHECK, "{}").await;
    gone.assert_problem(502, "upstream_unreachable", "retry_later");
}

#[tokio::test]
async fn the_log_has_path_status_errcode_and_rid_of_a_call_and_nothing_that_went_through() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("INTERNAL_TOKEN", TOKEN),
        ("INTERNAL_WECHAT_PATHS", PATHS),
        ("RUST_LOG", "trace"),
    ];
    let process = Process::start(dir.path(), &vars(&upstream.base(), &settings));
    let refusal = r#"{"errcode":43101,"errmsg":"SECRET-ERRMSG rid: 66c69111-5ccc9dc8-0fd94c9e"}"#;
    upstream.answer(Script::Send(ok("application/json", refusal.as_bytes())));
    let path = format!("/wechat/{APPID}{CHECK}?name=SECRET-QUERY");
    let answer = process.internal().post(&path, TOKEN, "SECRET-BODY").await;
    assert_eq!(answer.assert_status(200).text, refusal);
    upstream.answer(Script::Send(Vec::new()));
    process
        .internal()
        .post(&path, TOKEN, "SECRET-BODY")
        .await
        .assert_status(502);
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("call passed through"))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    let fields = format!(
        "appid=\"{APPID}\" path=\"{CHECK}\" status=200 errcode=43101 rid=66c69111-5ccc9dc8-0fd94c9e"
    );
    assert!(lines[0].contains(&fields), "{}", lines[0]);
    assert!(!lines[1].contains("status="), "{}", lines[1]);
    for secret in ["SECRET", TOKEN, &upstream.token()] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// As many calls as there can be at a time, with bodies and answers of 10 MB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn the_memory_of_calls_is_bounded() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("INTERNAL_TOKEN", TOKEN),
        ("INTERNAL_WECHAT_PATHS", PATHS),
        ("WECHAT_CALL_TIMEOUT", "60s"),
    ];
    let process = Process::start(dir.path(), &vars(&upstream.base(), &settings));
    let internal = process.internal();
    let memory = async || numbers(&internal).await["process_resident_memory_bytes"] / 1e6;
    let before = memory().await;
    upstream.answer(Script::After(
        Duration::from_secs(5),
        ok("image/png", &vec![7; 9_999_000]),
    ));
    let body: &'static [u8] = vec![b'x'; 10_000_000].leak();
    let path = format!("/wechat/{APPID}{CHECK}");
    let calls = tokio::spawn({
        let internal = internal.clone();
        async move {
            for _ in 0..3 {
                let calls = (0..32).map(|_| internal.post(&path, TOKEN, body));
                for answer in futures_util::future::join_all(calls).await {
                    assert_eq!(answer.assert_status(200).text.len(), 9_999_000);
                }
            }
        }
    });
    let mut most: f64 = 0.0;
    while !calls.is_finished() {
        most = most.max(memory().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    calls.await.unwrap();
    println!("{before} MB before, {most} MB at most");
    assert!(most - before < 700.0, "{before} {most}");
}

#[tokio::test]
async fn a_call_has_its_own_time_limit_to_the_last_byte_of_the_answer() {
    let upstream = Upstream::start().await;
    let app = start(
        &upstream,
        &[("WECHAT_TIMEOUT", "1s"), ("WECHAT_CALL_TIMEOUT", "4s")],
    )
    .await;
    upstream.answer(Script::After(
        Duration::from_millis(1500),
        ok("text/plain", b"{}"),
    ));
    post(&app, CHECK, "{}").await.assert_status(200);
    // An image that does not end is cut off, which its reader notices.
    let mut image =
        b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9999999\r\n\r\n\x89PNG"
            .to_vec();
    image.resize(image.len() + 100_000, 7);
    upstream.answer(Script::Drip(image));
    let begin = std::time::Instant::now();
    let path = format!("/wechat/{APPID}{CODE}");
    let bearer = format!("Bearer {TOKEN}");
    let cut = app
        .internal
        .try_send(Method::GET, &path, &[("authorization", &bearer)])
        .await;
    assert!(cut.is_err(), "{cut:?}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_stop_waits_for_an_answer_that_still_comes() {
    let (upstream, dir) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let settings = [
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("INTERNAL_TOKEN", TOKEN),
        ("INTERNAL_WECHAT_PATHS", PATHS),
    ];
    let process = Process::start(dir.path(), &vars(&upstream.base(), &settings));
    // Three seconds of it come later.
    let (now, all) = (100_000, 100_000 + 60 * 500);
    let mut image =
        format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {all}\r\n\r\n")
            .into_bytes();
    image.resize(image.len() + now, b'x');
    upstream.answer(Script::Drip(image));
    let internal = process.internal();
    let answer = tokio::spawn(async move {
        let path = format!("/wechat/{APPID}{CODE}");
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("authorization", &*bearer)];
        internal.send(Method::GET, &path, &headers).await
    });
    upstream.wait_for(1).await;
    process.signal("TERM");
    let answer = answer.await.unwrap();
    answer.assert_status(200);
    assert_eq!(answer.text.len(), all);
    let (status, log) = process.wait();
    assert_eq!(status, Some(0), "{log}");
}
