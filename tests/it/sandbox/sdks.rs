//! The sandbox's stand-in with other programs: the real binary and two third-party SDKs, configured by the
//! lines that the sandbox prints.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fake_wechat::{APPID, openid, phone_number};
use crate::support::process::Process;
use crate::support::sandbox_process::Sandbox;

/// The printed lines `WECHAT_…=…`.
fn settings(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let lines = sandbox.printed.lines().map(str::trim);
    let settings: BTreeMap<_, _> = lines
        .filter(|line| line.starts_with("WECHAT_"))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(settings.len(), 3, "{settings:?}");
    settings
}

/// The output of a program that uses the stand-in.
#[track_caller]
fn run(program: impl AsRef<Path>, script: &str, sandbox: &Sandbox) -> Value {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let dir = tempfile::tempdir().unwrap(); // node-easywechat keeps access_tokens in files
    let output = Command::new(program.as_ref())
        .arg(scripts.join(script))
        .current_dir(dir.path())
        .envs(settings(sandbox))
        .output()
        .expect("not installed: tests/run.sh installs it");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("tests/run.sh installs what may be missing\n{errors}")
    })
}

#[track_caller]
fn assert_phone(answer: &Value, name: &str) {
    let number = phone_number(&openid(name));
    assert_eq!(answer["phone_info"]["phoneNumber"], number, "{answer}");
}

#[tokio::test]
async fn the_real_binary_logs_in_by_the_three_printed_lines() {
    let sandbox = Sandbox::start();
    let dir = tempfile::tempdir().unwrap();
    let token = sandbox.value("INTERNAL_TOKEN");
    let mut settings = settings(&sandbox);
    settings.insert("INTERNAL_ADDR".into(), "127.0.0.1:0".into());
    settings.insert("INTERNAL_TOKEN".into(), token.clone());
    let process = Process::start(dir.path(), &settings);
    let session = process.client.token("user-alice").await;
    let session = process.client.session(&session).await;
    assert_eq!(session.assert_status(200).json()["openid"], openid("alice"));
    let path = format!("/users/{APPID}/{}/phone", openid("alice"));
    let body = r#"{"code":"phone-alice"}"#;
    let number = process.internal().post(&path, &token, body).await;
    let number = number.assert_status(200).json()["purePhoneNumber"].clone();
    assert_eq!(number, phone_number(&openid("alice")));
    let refused = process.client.login("error-45011").await;
    refused.assert_problem(429, "rate_limited", "retry_later");
    // The page shows the user, whose session is not the sandbox's.
    let state = sandbox.page().get("/sandbox").await.json();
    assert_eq!(state["users"][0]["name"], "alice", "{state}");
    assert_eq!(state["users"][0]["sessions"], serde_json::json!([]));
    assert_eq!(state["requests_to_wxlogin"], serde_json::json!([]));
    assert_eq!(state["requests_to_wechat"].as_array().unwrap().len(), 4);
}

#[test]
fn wechatpy_logs_in_and_fetches_a_phone_number() {
    let sandbox = Sandbox::start();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let answers = run(python, "wechatpy_login.py", &sandbox);
    assert_eq!(answers["login"]["openid"], openid("wechatpy"), "{answers}");
    assert_eq!(
        (&answers["used"], &answers["refused"]),
        (&40163.into(), &40029.into())
    );
    assert_phone(&answers["phone"], "wechatpy");
}

#[test]
fn node_easywechat_logs_in_and_fetches_a_phone_number() {
    let sandbox = Sandbox::start();
    let answers = run("node", "easywechat_login.js", &sandbox);
    assert_eq!(
        answers["login"]["openid"],
        openid("easywechat"),
        "{answers}"
    );
    for (refusal, errcode) in [("used", "40163"), ("refused", "40029")] {
        assert!(
            answers[refusal].as_str().unwrap().contains(errcode),
            "{answers}"
        );
    }
    for phone in ["phone", "stable"] {
        assert_phone(&answers[phone], "easywechat");
    }
}
