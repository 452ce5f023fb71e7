//! Several Mini Programs in one process, and an AppSecret that is being changed.

use reqwest::Method;

use crate::fake_wechat::{APPID, FakeWechat, OTHER_APPID, OTHER_SECRET, SECRET, openid, openid_in};
use crate::support::app::vars;
use crate::support::client::Answer;
use crate::support::process::Process;

const RESET: &str = "5ecre7reset5ecre7reset5ecre7recc";

fn referer(appid: &str) -> String {
    format!("https://servicewechat.com/{appid}/12/page-frame.html")
}

/// A process for two Mini Programs. The second one has two AppSecrets.
fn start(dir: &std::path::Path, wechat: &FakeWechat) -> Process {
    let apps = format!("{APPID}:{SECRET},{OTHER_APPID}:{RESET},{OTHER_APPID}:{OTHER_SECRET}");
    let mut settings = vars(&wechat.base(), &[("WECHAT_APPS", &apps)]);
    settings.remove("WECHAT_APPID");
    settings.remove("WECHAT_SECRET");
    Process::start(dir, &settings)
}

async fn login_from(process: &Process, query: &str, referer: &str) -> Answer {
    let path = format!("/onLogin?{query}");
    let headers = [("referer", referer)];
    process.client.send(Method::GET, &path, &headers).await
}

#[tokio::test]
async fn the_mini_program_is_the_one_named_else_the_one_that_asks_else_the_first() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path(), &wechat);
    let (ours, others) = (referer(APPID), referer(OTHER_APPID));
    let strange = referer("wx000000000000000f");
    let named = format!("&appid={OTHER_APPID}");
    let rows = [
        ("", "", APPID),
        (&*named, "", OTHER_APPID),
        ("", &*others, OTHER_APPID),
        (&*named, &*ours, OTHER_APPID),
        ("", &*strange, APPID),
        ("", "https://example.com/", APPID),
        ("", "https://servicewechat.com/", APPID),
    ];
    for (number, (query, referer, appid)) in rows.into_iter().enumerate() {
        let login = login_from(&process, &format!("code=user-a.{number}{query}"), referer).await;
        login.assert_status(200);
        let login = login.json();
        assert_eq!(login["openid"], openid_in(appid, "a"), "{query} {referer}");
        let session = process.client.session(login["token"].as_str().unwrap());
        let session = session.await;
        assert_eq!(session.json()["appid"], appid);
        assert_eq!(session.header("x-wx-appid"), Some(appid));
    }
    let unknown = login_from(&process, "code=user-b&appid=wx000000000000000f", &others).await;
    unknown.assert_problem(400, "unknown_app", "fix_request");
    assert_eq!(wechat.requests_for("user-b"), 0);
}

#[tokio::test]
async fn one_code_is_one_exchange_for_each_mini_program_and_a_quota_is_one_mini_programs() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path(), &wechat);
    let other = format!("&appid={OTHER_APPID}");
    let first = process.client.login("user-a").await;
    assert_eq!(first.json()["openid"], openid("a"));
    // The same code for another Mini Program is exchanged: outcomes are remembered by appid and code.
    let answer = process.client.login(&format!("user-a{other}")).await;
    answer.assert_problem(400, "code_used", "login_again");
    let exhausted = process.client.login(&format!("error-45009{other}")).await;
    exhausted.assert_problem(503, "quota_exhausted", "retry_later");
    let paused = process.client.login(&format!("user-b{other}")).await;
    paused.assert_problem(503, "quota_exhausted", "retry_later");
    assert_eq!(wechat.requests_for("user-b"), 0);
    process.client.login("user-b").await.assert_status(200);
}

#[tokio::test]
async fn a_reset_secret_is_found_once_also_by_codes_that_are_refused() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path(), &wechat);
    let login = async |code: &str| {
        let query = format!("{code}&appid={OTHER_APPID}");
        process.client.login(&query).await
    };
    // The new secret comes first in the settings, but is not in force yet.
    let junk = login("error-40029.1").await;
    junk.assert_problem(400, "invalid_code", "login_again");
    assert_eq!(wechat.wrong_secrets(), 1);
    login("user-a.1").await.assert_status(200);
    assert_eq!(wechat.wrong_secrets(), 1, "the one that works comes first");
    wechat.reset_secret(OTHER_APPID, RESET);
    for code in ["user-a.2", "user-a.3"] {
        login(code).await.assert_status(200);
    }
    assert_eq!(wechat.wrong_secrets(), 2);
    wechat.reset_secret(OTHER_APPID, "neither");
    let refused = login("user-a.4").await;
    refused.assert_problem(500, "misconfigured", "give_up");
    wechat.reset_secret(OTHER_APPID, RESET);
    login("user-a.5").await.assert_status(200);
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(log.matches("accepts AppSecret 2 of 2").count(), 1, "{log}");
    assert_eq!(log.matches("accepts AppSecret 1 of 2").count(), 1, "{log}");
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
}
