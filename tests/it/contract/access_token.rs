//! The `access_token`: fetched once, renewed, replaced, and never forced.

use futures_util::future::join_all;
use reqwest::Method;

use crate::fake_wechat::{APPID, FakeWechat};
use crate::support::app::vars;
use crate::support::backend::{Backend, OPEN, start};
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::wait::eventually;

#[tokio::test]
async fn two_hundred_requests_at_once_share_one_fetch() {
    let app = start(&[]).await;
    app.wechat.delay_access_tokens(200);
    let backend = Backend::of(&app);
    let answers = join_all((0..200).map(|_| backend.access_token())).await;
    for answer in answers {
        answer.assert_status(200);
        assert_eq!(
            answer.json()["access_token"],
            *app.wechat.access_token(APPID)
        );
        assert_eq!(answer.json()["expires_in"], 7200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(app.wechat.access_token_requests(), 1);
}

#[tokio::test]
async fn logins_need_no_access_token() {
    let app = start(&[]).await;
    app.wechat.refuse_access_tokens(Some(40164));
    app.client.token("user-alice").await;
    assert_eq!(app.wechat.access_token_requests(), 0);
}

#[tokio::test]
async fn two_processes_have_the_same_token() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [&OPEN[..], &[("INTERNAL_ADDR", "127.0.0.1:0")]].concat();
    let settings = vars(&wechat.base(), &settings);
    for process in [
        Process::start(dir.path(), &settings),
        Process::start(dir.path(), &settings),
    ] {
        let backend = Backend {
            internal: process.internal(),
            appid: APPID,
        };
        let answer = backend.access_token().await;
        assert_eq!(
            answer.json()["access_token"],
            *wechat.access_token(APPID),
            "{}",
            answer.text
        );
    }
    assert_eq!(wechat.access_token_requests(), 2);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_end_the_fetch() {
    let app = start(&[]).await;
    app.wechat.delay_access_tokens(300);
    let internal = app.internal.clone();
    let gone = tokio::spawn(async move {
        Backend {
            internal,
            appid: APPID,
        }
        .access_token()
        .await
    });
    eventually("a token is asked for", async || {
        app.wechat.access_token_requests() > 0
    })
    .await;
    gone.abort();
    let _ = gone.await;
    Backend::of(&app).access_token().await.assert_status(200);
    assert_eq!(app.wechat.access_token_requests(), 1);
}

#[tokio::test]
async fn a_token_that_was_killed_elsewhere_is_replaced_within_five_minutes_of_use() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let old = backend.access_token().await.json()["access_token"].clone();
    app.wechat.replace_access_token(APPID, 40001);
    app.clock.forward(300);
    let kept = backend.access_token().await.json();
    assert_eq!(kept["access_token"], old);
    assert_eq!(kept["expires_in"], 6900);
    assert_eq!(app.wechat.access_token_requests(), 1);
    app.clock.forward(1);
    // This use starts a fetch in the background and does not wait for it.
    assert_eq!(backend.access_token().await.json()["access_token"], old);
    loop {
        let token = backend.access_token().await.json();
        if token["access_token"] != old {
            assert_eq!(token["access_token"], *app.wechat.access_token(APPID));
            assert_eq!(token["expires_in"], 7200);
            break;
        }
    }
    assert_eq!(app.wechat.access_token_requests(), 2);
}

#[tokio::test]
async fn a_token_near_its_end_is_not_given_out() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    backend.access_token().await.assert_status(200);
    app.wechat.replace_access_token(APPID, 42001);
    app.clock.forward(7140);
    let token = backend.access_token().await.json();
    assert_eq!(token["access_token"], *app.wechat.access_token(APPID));
}

#[tokio::test]
async fn a_token_ends_by_the_clock_that_is_ahead_as_after_a_suspend() {
    for is_suspended in [true, false] {
        let app = start(&[]).await;
        let backend = Backend::of(&app);
        backend.access_token().await.assert_status(200);
        app.wechat.replace_access_token(APPID, 42001);
        if is_suspended {
            // The monotonic clock has stood still.
            app.clock.set_wall(app.clock.clock().now() + 3 * 3600);
        } else {
            let wall = app.clock.clock().now();
            app.clock.forward(3 * 3600);
            app.clock.set_wall(wall);
        }
        let token = backend.access_token().await.json();
        assert_eq!(token["access_token"], *app.wechat.access_token(APPID));
        assert_eq!(token["expires_in"], 7200);
    }
}

#[tokio::test]
async fn a_token_that_wechat_calls_invalid_is_replaced_once_and_the_call_repeated_once() {
    for errcode in [40001, 40014, 42001] {
        let app = start(&[]).await;
        let backend = Backend::of(&app);
        backend.access_token().await.assert_status(200);
        app.wechat.replace_access_token(APPID, errcode);
        backend
            .phone("alice", "phone-alice")
            .await
            .assert_status(200);
        assert_eq!(app.wechat.access_token_requests(), 2, "{errcode}");
        assert_eq!(app.wechat.phone_requests_for("phone-alice"), 2, "{errcode}");
        backend.phone("bob", "phone-bob").await.assert_status(200);
        assert_eq!(app.wechat.phone_requests_for("phone-bob"), 1, "{errcode}");
    }
}

#[tokio::test]
async fn under_load_an_invalid_token_is_replaced_by_one_fetch() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    backend.access_token().await.assert_status(200);
    app.wechat.replace_access_token(APPID, 40001);
    app.wechat.delay_access_tokens(100);
    let codes: Vec<_> = (0..100)
        .map(|number| format!("phone-alice.{number}"))
        .collect();
    for answer in join_all(codes.iter().map(|code| backend.phone("alice", code))).await {
        answer.assert_status(200);
    }
    assert_eq!(app.wechat.access_token_requests(), 2);
}

/// Runs a process with a stand-in that refuses the token that it gives out; returns the errors in its log.
async fn errors_with_a_refused_token(asks: impl AsyncFnOnce(&FakeWechat, &Backend)) -> Vec<String> {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [&OPEN[..], &[("INTERNAL_ADDR", "127.0.0.1:0")]].concat();
    let process = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let backend = Backend {
        internal: process.internal(),
        appid: APPID,
    };
    wechat.refuse_access_token(APPID, 40001);
    asks(&wechat, &backend).await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let errors = log.lines().filter(|line| line.contains(" ERROR "));
    errors.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_same_token_again_is_one_error_and_no_loop_also_under_load() {
    let errors = errors_with_a_refused_token(async |wechat, backend| {
        let codes: Vec<_> = (0..100)
            .map(|number| format!("phone-alice.{number}"))
            .collect();
        for _ in 0..2 {
            for answer in join_all(codes.iter().map(|code| backend.phone("alice", code))).await {
                answer.assert_problem(500, "misconfigured", "give_up");
                assert_eq!(answer.json()["errcode"], 40001);
            }
        }
        assert_eq!(
            wechat.access_token_requests(),
            2,
            "the first, and one to replace it"
        );
        let refused = wechat.refused_access_tokens();
        assert!(
            refused <= 100,
            "{refused}: a call is repeated with the same token"
        );
    })
    .await;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].contains("calls the access_token invalid") && errors[0].contains("remedy="),
        "{errors:?}"
    );
}

#[tokio::test]
async fn ten_seconds_later_an_invalid_token_is_asked_for_once_more() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    app.wechat.refuse_access_token(APPID, 40001);
    for (code, wait, requests) in [("a", 0, 2), ("b", 9, 2), ("c", 1, 3), ("d", 9, 3)] {
        app.clock.forward(wait);
        let answer = backend.phone("alice", &format!("phone-alice.{code}")).await;
        answer.assert_problem(500, "misconfigured", "give_up");
        assert_eq!(app.wechat.access_token_requests(), requests, "{code}");
    }
}

#[tokio::test]
async fn a_refused_fetch_is_remembered_for_ten_seconds_whatever_the_load() {
    let app = start(&[]).await;
    app.wechat.refuse_access_tokens(Some(40164));
    let backend = Backend::of(&app);
    for _ in 0..3 {
        let answers = join_all((0..50).map(|_| backend.access_token())).await;
        for answer in answers {
            answer.assert_problem(500, "misconfigured", "give_up");
            assert_eq!(answer.json()["errcode"], 40164);
        }
        let phone = backend.phone("alice", "phone-alice").await;
        phone.assert_problem(500, "misconfigured", "give_up");
        app.clock.forward(3);
    }
    assert_eq!(app.wechat.access_token_requests(), 1);
    assert_eq!(app.wechat.phone_requests_for("phone-alice"), 0);
    app.wechat.refuse_access_tokens(None);
    app.clock.forward(1);
    backend
        .phone("alice", "phone-alice")
        .await
        .assert_status(200);
    assert_eq!(app.wechat.access_token_requests(), 2);
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_token() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    backend.access_token().await.assert_status(200);
    app.wechat.refuse_access_tokens(Some(45009));
    app.clock.forward(301);
    for _ in 0..20 {
        backend.access_token().await.assert_status(200);
    }
    eventually("a token is asked for again", async || {
        app.wechat.access_token_requests() >= 2
    })
    .await;
    backend.access_token().await.assert_status(200);
    assert_eq!(app.wechat.access_token_requests(), 2);
}

#[tokio::test]
async fn a_token_that_wechat_calls_invalid_is_not_given_out_also_if_no_other_can_be_fetched() {
    for renewal_has_failed in [false, true] {
        let app = start(&[]).await;
        let backend = Backend::of(&app);
        backend.access_token().await.assert_status(200);
        app.wechat.refuse_access_token(APPID, 40001);
        app.wechat.refuse_access_tokens(Some(45009));
        if renewal_has_failed {
            app.clock.forward(301);
            backend.access_token().await.assert_status(200);
            eventually("a token is asked for again", async || {
                app.wechat.access_token_requests() >= 2
            })
            .await;
        }
        let call = backend.phone("alice", "phone-alice").await;
        call.assert_problem(503, "quota_exhausted", "retry_later");
        let token = backend.access_token().await;
        token.assert_problem(503, "quota_exhausted", "retry_later");
    }
}

#[tokio::test]
async fn a_replacement_that_is_refused_too_is_not_given_out() {
    for is_at_once in [true, false] {
        let app = start(&[]).await;
        let backend = Backend::of(&app);
        backend.access_token().await.assert_status(200);
        app.wechat.replace_access_token(APPID, 40001);
        if !is_at_once {
            backend
                .phone("alice", "phone-alice.1")
                .await
                .assert_status(200);
        }
        app.wechat.refuse_access_token(APPID, 40001);
        let call = backend.phone("alice", "phone-alice.2").await;
        call.assert_problem(500, "misconfigured", "give_up");
        let token = backend.access_token().await;
        token.assert_problem(500, "misconfigured", "give_up");
        app.wechat.replace_access_token(APPID, 40001);
        app.clock.forward(10);
        backend.access_token().await.assert_status(200);
        backend
            .phone("alice", "phone-alice.3")
            .await
            .assert_status(200);
        assert_eq!(app.wechat.access_token_requests(), 3);
    }
}

#[tokio::test]
async fn each_refusal_of_a_token_has_its_answer() {
    let rows = [
        ("rate_limited", 429, "retry_later", 45011),
        ("quota_exhausted", 503, "retry_later", 45009),
        ("upstream_busy", 503, "retry_later", -1),
        ("upstream_error", 502, "retry_later", 40029),
        ("upstream_error", 502, "retry_later", 47001),
    ];
    let misconfigured = [
        40001, 40002, 40013, 40014, 40097, 40125, 40164, 40243, 41001, 41002, 41004, 42001, 48001,
        50002, 50004, 50007, 61003, 89503, 89506, 89507,
    ];
    let misconfigured = misconfigured.map(|errcode| ("misconfigured", 500, "give_up", errcode));
    for (code, status, action, errcode) in rows.into_iter().chain(misconfigured) {
        let app = start(&[]).await;
        app.wechat.refuse_access_tokens(Some(errcode));
        let backend = Backend::of(&app);
        // The phone code was certainly not sent.
        for answer in [
            backend.access_token().await,
            backend.phone("alice", "phone-alice").await,
        ] {
            answer.assert_problem(status, code, action);
            assert_eq!(answer.json()["errcode"], errcode);
        }
        assert_eq!(app.wechat.phone_requests_for("phone-alice"), 0);
        let asked = if errcode == -1 { 3 } else { 1 };
        assert_eq!(app.wechat.access_token_requests(), asked, "{errcode}");
    }
}

#[tokio::test]
async fn the_next_appsecret_is_tried_when_wechat_calls_one_wrong() {
    let apps = format!(
        "{APPID}:0123456789abcdef0123456789abcdef,{APPID}:{}",
        crate::fake_wechat::SECRET
    );
    let settings = [
        ("WECHAT_APPS", &*apps),
        ("WECHAT_APPID", ""),
        ("WECHAT_SECRET", ""),
    ];
    let app = start(&settings).await;
    let backend = Backend::of(&app);
    backend.access_token().await.assert_status(200);
    assert_eq!(app.wechat.wrong_secrets(), 1);
    // From then on it is tried first, for logins too.
    app.client.token("user-alice").await;
    assert_eq!(app.wechat.wrong_secrets(), 1);
}

#[tokio::test]
async fn a_slow_token_is_a_timeout_and_logins_do_not_wait_for_it() {
    let app = start(&[("WECHAT_TIMEOUT", "300ms")]).await;
    app.wechat.delay_access_tokens(60_000);
    let backend = Backend::of(&app);
    let (slow, login) = tokio::join!(
        backend.phone("alice", "phone-alice"),
        app.client.login("user-alice")
    );
    slow.assert_problem(504, "upstream_timeout", "retry_later");
    login.assert_status(200);
    let known: &Client = &app.internal;
    known
        .send(Method::GET, "/readyz", &[])
        .await
        .assert_status(200);
}
