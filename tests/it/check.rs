//! `wxlogin check`

use std::net::TcpListener;
use std::process::Command;

use crate::app::vars;
use crate::fake_wechat::{APPID, FakeWechat, OTHER_APPID, OTHER_SECRET, SECRET};
use crate::process::command;

const RID: &str = "rid 66c69111-5ccc9dc8-0fd94c9e, 2024-08-22T01:14:57Z";

/// Runs it with these Mini Programs; returns the exit status and what it says.
async fn check(base: &str, apps: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vars(base, &[("WECHAT_APPS", apps), ("WECHAT_TIMEOUT", "1s")]);
    settings.retain(|name, _| name != "WECHAT_APPID" && name != "WECHAT_SECRET");
    let mut command: Command = command(dir.path(), &settings);
    let output = tokio::task::spawn_blocking(move || command.arg("check").output());
    let output = output.await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in [SECRET, OTHER_SECRET, "not-it"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(!dir.path().join("wxlogin.sessions").exists());
    (output.status.code(), said)
}

#[tokio::test]
async fn each_mini_program_is_told_from_the_others() {
    let wechat = FakeWechat::start().await;
    let good = format!("{APPID}:{SECRET}");
    let (status, said) = check(&wechat.base(), &good).await;
    assert_eq!(
        (status, &*said),
        (Some(0), &*format!("{APPID}: all is well\n"))
    );

    let apps = format!("{good},{OTHER_APPID}:not-it,wx1:{SECRET}");
    let (status, said) = check(&wechat.base(), &apps).await;
    assert_eq!(status, Some(1));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("{APPID}: all is well"));
    let wrong_secret =
        format!("{OTHER_APPID}: WeChat answered errcode 40125, {RID}: the AppSecret is wrong");
    assert!(lines[1].starts_with(&wrong_secret), "{said}");
    let wrong_appid =
        format!("wx1: WeChat answered errcode 40013, {RID}: WeChat does not know this AppID");
    assert!(lines[2].starts_with(&wrong_appid), "{said}");
    assert_eq!(lines.len(), 3, "{said}");
}

#[tokio::test]
async fn one_of_two_secrets_suffices() {
    let wechat = FakeWechat::start().await;
    let apps = format!("{APPID}:not-it,{APPID}:{SECRET}");
    let (status, said) = check(&wechat.base(), &apps).await;
    assert_eq!(status, Some(0), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].contains("AppSecret 1 of 2: WeChat answered errcode 40125"),
        "{said}"
    );
    assert_eq!(lines[1], format!("{APPID}, AppSecret 2 of 2: all is well"));
}

#[tokio::test]
async fn an_address_that_is_not_listed_and_a_wechat_that_is_not_reached_are_told() {
    let wechat = FakeWechat::start().await;
    let good = format!("{APPID}:{SECRET}");
    wechat.refuse_everything(40164);
    let (status, said) = check(&wechat.base(), &good).await;
    assert_eq!(status, Some(1));
    let told = format!(
        "{APPID}: WeChat answered errcode 40164, {RID}, this server's address 203.0.113.7: this server's IP address is not in the IP whitelist"
    );
    assert!(said.starts_with(&told), "{said}");

    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (status, said) = check(&format!("http://{nobody}"), &good).await;
    assert_eq!(status, Some(1));
    assert!(
        said.starts_with(&format!("{APPID}: WeChat was not reached: ")),
        "{said}"
    );
    assert!(said.contains("Connection refused"), "{said}");
}

#[tokio::test]
async fn wrong_settings_are_told_before_wechat_is_asked() {
    let wechat = FakeWechat::start().await;
    let (status, said) = check(&wechat.base(), "wx1").await;
    assert_eq!(status, Some(2));
    assert!(said.starts_with("wxlogin: WECHAT_APPS must be"), "{said}");
    assert_eq!(wechat.requests(), 0);
}
