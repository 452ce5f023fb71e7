//! WeChat and Redis over TLS: their certificates are verified, always.

use std::fs;

use rcgen::generate_simple_self_signed;

use crate::fake_wechat::{FakeWechat, openid};
use crate::support::app::{TestApp, vars};
use crate::support::process::Process;
use crate::support::redis_server::{PASSWORD, RedisServer};
use crate::support::tls::serve;

/// A login by a process that trusts `trusted` alone; returns the answer's JSON.
async fn login(base: &str, trusted: &str) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, trusted).unwrap();
    let process = Process::start(
        dir.path(),
        &vars(base, &[("SSL_CERT_FILE", file.to_str().unwrap())]),
    );
    process.client.login("user-alice").await.json()
}

#[tokio::test]
async fn a_wechat_with_a_trusted_certificate_is_asked() {
    let wechat = FakeWechat::start().await;
    let (port, certificate) = serve(&wechat, "localhost", &[]).await;
    let answer = login(&format!("https://localhost:{port}"), &certificate).await;
    assert_eq!(answer["openid"], openid("alice"), "{answer}");
}

#[tokio::test]
async fn http_1_is_spoken_also_where_http_2_is_offered() {
    let wechat = FakeWechat::start().await;
    let (port, certificate) = serve(&wechat, "localhost", &["h2", "http/1.1"]).await;
    let answer = login(&format!("https://localhost:{port}"), &certificate).await;
    assert_eq!(answer["openid"], openid("alice"), "{answer}");
    let (port, certificate) = serve(&wechat, "localhost", &["h2"]).await;
    let answer = login(&format!("https://localhost:{port}"), &certificate).await;
    assert_eq!(answer["code"], "upstream_unreachable", "{answer}");
}

#[tokio::test]
async fn a_wechat_with_another_certificate_never_sees_code_or_secret() {
    let wechat = FakeWechat::start().await;
    let (port, certificate) = serve(&wechat, "localhost", &[]).await;
    let (_, other) = serve(&wechat, "localhost", &[]).await;
    let (misnamed, for_another_name) = serve(&wechat, "api.weixin.qq.com", &[]).await;
    for (port, trusted) in [(port, &other), (misnamed, &for_another_name)] {
        let answer = login(&format!("https://localhost:{port}"), trusted).await;
        assert_eq!(answer["code"], "upstream_unreachable", "{answer}");
        assert_eq!(answer["action"], "retry_later", "{answer}");
    }
    let by_address = login(&format!("https://127.0.0.1:{port}"), &certificate).await;
    assert_eq!(by_address["code"], "upstream_unreachable", "{by_address}");
    assert_eq!(wechat.requests_for("user-alice"), 0);
}

#[tokio::test]
async fn a_wechat_that_does_not_speak_tls_is_unreachable() {
    let wechat = FakeWechat::start().await;
    let base = wechat.base().replace("http://", "https://");
    let app = TestApp::with(&[("WECHAT_API_BASE", &base)]).await;
    let answer = app.client.login("user-alice").await;
    answer.assert_problem(502, "upstream_unreachable", "retry_later");
}

#[tokio::test]
async fn a_redis_over_tls_is_used_if_its_certificate_is_trusted() {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let certificate = certificate.to_str().unwrap();
    let (_redis, port) = RedisServer::with_tls(certificate, key.to_str().unwrap());

    let wechat = FakeWechat::start().await;
    let url = format!("rediss://:{PASSWORD}@localhost:{port}");
    let mut settings = vars(&wechat.base(), &[("SESSION_STORE", &url)]);
    let process = Process::start(dir.path(), &settings);
    let untrusted = process.client.login("user-alice").await;
    untrusted.assert_problem(503, "store_unavailable", "login_again");
    settings.insert("SSL_CERT_FILE".into(), certificate.into());
    let process = Process::start(dir.path(), &settings);
    let token = process.client.token("user-alice").await;
    process.client.session(&token).await.assert_status(200);
}
