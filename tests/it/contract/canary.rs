//! No secret leaks: runs every route and every failure at every log level with recognizable secrets, then
//! searches responses, logs, metrics and stores for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use reqwest::Method;
use wxlogin::clock::Clock;
use wxlogin::config::InternalConfig;
use wxlogin::session::{StoreUrl, Token};
use wxlogin::wechat::{AccessToken, CodeSession, PhoneNumber};

use crate::fake_wechat::{
    APPID, FakeWechat, SECRET, encrypt, hex, hmac_sign, openid, phone_number, session_key, sign,
    user_info,
};
use crate::support::app::vars;
use crate::support::client::{Answer, Client};
use crate::support::ports::nobody;
use crate::support::process::{Process, command};
use crate::support::redis_server::{PASSWORD, RedisServer};
use crate::support::tls;

/// No form of a secret has fewer bytes.
const START: usize = 7;

/// The secrets, in all encodings that they could be found in.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<Vec<u8>>)>);

impl Secrets {
    fn add_text(&mut self, text: &str) {
        let escaped = text.replace('/', r"\/");
        let encoded = text
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let mut forms = vec![text.into(), escaped.into_bytes(), encoded.into_bytes()];
        forms.extend(encodings(text.as_bytes()));
        self.0.push((text.to_owned(), forms));
    }

    /// Bytes, 16 or more.
    fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        let mut forms = encodings(bytes);
        forms.push(bytes.to_vec());
        self.0.push((name.to_owned(), forms));
    }

    fn add_token(&mut self, token: &str) {
        self.add_text(token);
        let bytes = URL_SAFE_NO_PAD.decode(&token[4..]).unwrap();
        self.add_bytes(token, &bytes);
        self.add_bytes(&format!("the secret of {token}"), &bytes[8..]);
    }

    /// The first of them that is in these bytes, and what is around it.
    fn find(&self, haystack: &[u8]) -> Option<String> {
        // By its first bytes, so that one pass looks for all.
        let mut by_start: HashMap<&[u8], Vec<(&str, &[u8])>> = HashMap::new();
        for (name, forms) in &self.0 {
            for form in forms {
                let start = by_start.entry(&form[..START]).or_default();
                start.push((name, form));
            }
        }
        let mut starts = haystack.windows(START).enumerate();
        starts.find_map(|(at, start)| {
            let forms = by_start.get(start)?.iter();
            let mut found = forms.filter(|(_, form)| haystack[at..].starts_with(form));
            let (name, form) = found.next()?;
            let around =
                &haystack[at.saturating_sub(200)..haystack.len().min(at + form.len() + 200)];
            Some(format!("{name}: {}", String::from_utf8_lossy(around)))
        })
    }

    #[track_caller]
    fn assert_none_in(&self, place: &str, haystack: &[u8]) {
        if let Some(found) = self.find(haystack) {
            panic!("in {place}: {found}");
        }
    }
}

fn encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex = hex(bytes);
    let list = format!("{bytes:?}");
    [
        STANDARD.encode(bytes),
        STANDARD_NO_PAD.encode(bytes),
        URL_SAFE.encode(bytes),
        hex.to_uppercase(),
        hex,
        list.trim_matches(['[', ']']).to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

#[test]
fn the_search_finds_what_there_is() {
    let mut secrets = Secrets::default();
    secrets.add_text("se/cret+canary");
    secrets.add_text("canary/of/another");
    secrets.add_text("canary/of/a-third");
    secrets.add_bytes("key", &[250; 16]);
    secrets.add_token(&Token::generate(Clock::system().wall()).unwrap().to_text());
    secrets.assert_none_in("nothing", b"se/cret canary \xfa\xfa wxs_");
    for leak in [
        "js_code=se/cret+canary",
        "canary/of/another",
        "canary/of/a-third",
        r"se\/cret+canary",
        "?secret=se%2Fcret%2Bcanary&",
        "c2UvY3JldCtjYW5hcnk=",
        "fafafafafafafafafafafafafafafafa",
        &format!("Key({:?})", [250; 16]),
        &STANDARD.encode([250; 16]),
    ] {
        assert!(secrets.find(leak.as_bytes()).is_some(), "{leak}");
    }
    assert!(secrets.find(&[250; 17]).is_some());
}

/// A client that records its responses, without the token in the responses of logins.
struct Recorder<'a> {
    client: &'a Client,
    answers: RefCell<String>,
    secrets: RefCell<Secrets>,
}

impl Recorder<'_> {
    fn keep(&self, answer: &Answer) {
        let text = format!("{:?}\n{}\n", answer.headers, answer.text);
        self.answers.borrow_mut().push_str(&text);
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) {
        self.keep(&self.client.send(method, path, headers).await);
    }

    async fn login(&self, code: &str) -> Option<String> {
        let mut answer = self.client.login(code).await;
        let token = answer.json()["token"].as_str().map(str::to_owned);
        if let Some(token) = &token {
            answer.text = answer.text.replacen(token, "", 1);
            self.secrets.borrow_mut().add_token(token);
        }
        self.secrets.borrow_mut().add_text(code);
        self.keep(&answer);
        token
    }

    async fn post(&self, path: &str, token: &str, body: &str) {
        self.keep(&self.client.post(path, token, body.to_owned()).await);
    }
}

/// Every route and every failure that a client can cause.
async fn everything(recorder: &Recorder<'_>) {
    for script in [
        "guest-bob",
        "error-40029",
        "error-40125",
        "error-40164",
        "error--1",
        "error-77",
        "slow-100",
        "hang",
        "garbage",
        "empty",
        "html-502",
        "busy-1",
        "busy-used",
    ] {
        recorder.login(&format!("{script}.canary")).await;
    }
    let (one, two) = tokio::join!(
        recorder.login("slow-600.canary1"),
        recorder.login("slow-600.canary2"),
    );
    assert!(one.is_some() != two.is_some(), "one of them finds no slot");
    let code = "user-alice.canary";
    let token = recorder.login(code).await.unwrap();
    recorder.login(code).await.unwrap();
    user_data(recorder, code, &token).await;
    for method in [Method::GET, Method::DELETE, Method::GET] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("cookie", &bearer)];
        recorder.send(method, "/session", &headers).await;
    }
    recorder.secrets.borrow_mut().add_text("wxs_bearer-canary");
    for path in ["/session", "/session/decrypt", "/healthz", "/readyz"] {
        let headers = [("authorization", "Bearer wxs_bearer-canary")];
        recorder.send(Method::GET, path, &headers).await;
    }
    for (method, path) in [
        (Method::GET, "/onLogin?code=twice-canary&code=twice-canary"),
        (Method::GET, "/onLogin?appid=wx1&code=unknown-canary"),
        (Method::GET, "/onLogin/path-canary?x=path-canary"),
        (Method::GET, "/onLogin?code=%ffutf-canary"),
        (Method::POST, "/onLogin?code=post-canary"),
    ] {
        recorder.send(method, path, &[]).await;
    }
    for name in ["twice", "unknown", "path", "utf", "post", "broken"] {
        let secret = format!("{name}-canary");
        recorder.secrets.borrow_mut().add_text(&secret);
    }
    let mut broken = TcpStream::connect(recorder.client.addr).unwrap();
    broken
        .write_all(b"GET /onLogin?code=broken-canary HTTP/1.1\r\n\0\r\n")
        .unwrap();
    recorder.login("error-45009.canary").await; // last: further exchanges are refused for 10 s
    recorder.login("user-alice.canary3").await;
}

const INTERNAL_TOKEN: &str = "internal-token-canary,internal-token-canary2";

/// Every route of the internal listener, and its failures. The secret that a response returns is removed from it.
async fn backend(recorder: &Recorder<'_>, internal: &Client, wechat: &FakeWechat) {
    let token = INTERNAL_TOKEN.split(',').next().unwrap();
    let keep = |mut answer: Answer, secret: &str| {
        if !secret.is_empty() {
            assert!(answer.text.contains(secret), "{}", answer.text);
            answer.text = answer.text.replace(secret, "");
            recorder.secrets.borrow_mut().add_text(secret);
        }
        recorder.keep(&answer);
    };
    let alice = format!("/users/{APPID}/{}", openid("alice"));
    let phone = async |code: &str| {
        recorder.secrets.borrow_mut().add_text(code);
        let body = format!(r#"{{"code":"{code}"}}"#);
        internal.post(&format!("{alice}/phone"), token, body).await
    };
    keep(
        phone("phone-alice.canary").await,
        &phone_number(&openid("alice")),
    );
    for script in [
        "phone-bob",
        "error-40029",
        "error-48001",
        "error--1",
        "error-77",
        "hang",
        "garbage",
        "empty",
        "html-502",
    ] {
        keep(phone(&format!("{script}.canary-phone")).await, "");
    }
    let broken = format!(
        r#"{{"phone_info":{{"phoneNumber":"19912345678","purePhoneNumber":"19912345678","countryCode":86,"watermark":{{"appid":"{}"}}}}}}"#,
        "wx1"
    );
    recorder.secrets.borrow_mut().add_text("19912345678");
    wechat.script("phone-alice.broken-canary", &broken);
    keep(phone("phone-alice.broken-canary").await, "");
    let signed = internal
        .post(&format!("{alice}/sign"), token, r#"{"data":"data-canary"}"#)
        .await;
    recorder.secrets.borrow_mut().add_text("data-canary");
    keep(
        signed,
        &hmac_sign(&session_key("user-alice.canary"), "data-canary"),
    );
    recorder
        .secrets
        .borrow_mut()
        .add_text(&hmac_sign(&session_key("user-alice.canary"), ""));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let get = async |path: &str| internal.send(Method::GET, path, &headers).await;
    keep(get(&format!("{alice}/session_key")).await, "");
    let path = format!("/access_token/{APPID}");
    keep(get(&path).await, &wechat.access_token(APPID));
    wechat.replace_access_token(APPID, 40001);
    keep(get(&format!("{alice}/session_key")).await, "");
    wechat.refuse_access_token(APPID, 42001);
    keep(phone("phone-alice.canary-refused").await, "");
    recorder
        .secrets
        .borrow_mut()
        .add_text("wrong-internal-canary");
    for token in ["wrong-internal-canary", "Bearer wrong-internal-canary"] {
        let headers = [("authorization", token)];
        keep(internal.send(Method::GET, &path, &headers).await, "");
    }
    recorder.secrets.borrow_mut().add_text("o-canary");
    keep(get("/users/path-canary/o-canary/session_key").await, "");
    let end = internal
        .send(Method::DELETE, &format!("{alice}/sessions"), &headers)
        .await;
    keep(end, "");
    assert!(recorder.answers.borrow().contains("invalid_phone_code"));
}

async fn user_data(recorder: &Recorder<'_>, code: &str, token: &str) {
    let key = session_key(code);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let info = user_info(APPID, &openid("alice"), now.unwrap().as_secs());
    let (data, iv) = encrypt(&key, &info);
    let good = format!(r#"{{"encryptedData":"{data}","iv":"{iv}"}}"#);
    let large = " ".repeat(70_000);
    let wrong_key = format!(r#"{{"encryptedData":"{iv}","iv":"{iv}"}}"#);
    for body in [
        &good,
        &wrong_key,
        "{}",
        "canary",
        r#"{"encryptedData":"","iv":""}"#,
        &large,
    ] {
        recorder.post("/session/decrypt", token, body).await;
    }
    assert!(recorder.answers.borrow().contains("nickName"));
    let signature = sign(&key, "{}");
    for signature in [&*signature, "canary"] {
        let body = format!(r#"{{"rawData":"{{}}","signature":"{signature}"}}"#);
        recorder.post("/session/verify", token, &body).await;
    }
    assert!(recorder.answers.borrow().contains("bad_signature"));
}

async fn end(process: Process) -> String {
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    log
}

/// Processes that fail: unreachable hosts, untrusted certificates, a wrong password, wrong settings. Returns
/// their logs. The first setting is the store.
async fn failing(
    dir: &Path,
    wechat: &FakeWechat,
    settings: &[(&str, &str)],
    secrets: &mut Secrets,
) -> String {
    let mut log = String::new();
    let nobody = nobody();
    let (untrusted, _) = tls::serve(wechat, "localhost", &[]).await;
    let wrong_password = settings[0].1.replace(PASSWORD, "wrong-redis-canary");
    let mut failing = vars("", settings);
    for (base, store) in [
        (format!("http://{nobody}"), settings[0].1),
        (format!("https://localhost:{untrusted}"), settings[0].1),
        (format!("http://{nobody}"), &wrong_password),
    ] {
        failing.insert("WECHAT_API_BASE".into(), base);
        failing.insert("SESSION_STORE".into(), store.into());
        let process = Process::start(dir, &failing);
        for code in ["user-unreachable.canary", "user-unreachable.canary2"] {
            let answer = process.client.login(code).await;
            assert!(answer.status.is_server_error(), "{}", answer.text);
            secrets.add_text(code);
        }
        log += &end(process).await;
    }
    failing.insert(
        "SESSION_STORE".into(),
        format!("postgres://:{PASSWORD}@localhost"),
    );
    failing.insert("WECHAT_API_BASE".into(), format!("{SECRET}://{SECRET}"));
    failing.insert("INTERNAL_TOKEN".into(), format!("{INTERNAL_TOKEN},x"));
    let refused = command(dir, &failing).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    log += &String::from_utf8(refused.stderr).unwrap();
    log
}

/// Runs all requests on a service with this log format, store and WeChat, and searches everything recorded.
async fn run(format: &str, store: &str, over_tls: bool, stored: impl FnOnce(&Path) -> Vec<u8>) {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (port, certificate) = tls::serve(&wechat, "localhost", &["h2", "http/1.1"]).await;
    let trusted = dir.path().join("ca.pem");
    fs::write(&trusted, certificate).unwrap();
    let base = if over_tls {
        format!("https://localhost:{port}")
    } else {
        wechat.base()
    };
    let settings = [
        ("SESSION_STORE", store),
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("INTERNAL_TOKEN", INTERNAL_TOKEN),
        ("INTERNAL_ACCESS_TOKEN", "on"),
        (
            "RUST_LOG",
            "trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,redis=trace",
        ),
        ("LOG_FORMAT", format),
        ("WECHAT_TIMEOUT", "800ms"),
        ("WECHAT_MAX_IN_FLIGHT", "1"),
        ("SSL_CERT_FILE", trusted.to_str().unwrap()),
    ];
    let process = Process::start(dir.path(), &vars(&base, &settings));
    let recorder = Recorder {
        client: &process.client,
        answers: RefCell::default(),
        secrets: RefCell::default(),
    };
    everything(&recorder).await;
    backend(&recorder, &process.internal(), &wechat).await;
    let numbers = process.internal().get("/metrics").await;
    recorder.keep(&numbers);
    let answers = recorder.answers.into_inner();
    let mut secrets = recorder.secrets.into_inner();
    let mut log = end(process).await;
    let stored = stored(dir.path());

    log += &failing(dir.path(), &wechat, &settings, &mut secrets).await;

    let tokens = INTERNAL_TOKEN.split(',');
    for text in [SECRET, PASSWORD, "wrong-redis-canary"]
        .into_iter()
        .chain(tokens)
    {
        secrets.add_text(text);
    }
    assert!(wechat.access_tokens().len() >= 2);
    for token in wechat.access_tokens() {
        secrets.add_text(&token);
    }
    for (code, key) in wechat.keys() {
        secrets.add_text(&STANDARD.encode(key));
        secrets.add_bytes(&format!("the session_key of {code}"), &key);
    }
    secrets.assert_none_in("an answer", answers.as_bytes());
    // No openid in the log either: it is in responses and in the store only.
    let alice = openid("alice");
    assert!(!log.contains(&alice), "{alice} is in the log");
    assert!(!numbers.text.contains(&alice));
    secrets.assert_none_in("the log", log.as_bytes());
    secrets.assert_none_in("the store", &stored);

    // The recordings are complete.
    for (place, text, told) in [
        (
            "answers",
            &answers,
            &[
                "overloaded",
                "misconfigured",
                "quota_exhausted",
                "logins_total",
                &alice,
            ][..],
        ),
        (
            "log",
            &log,
            &[
                "WeChat refuses this service",
                "was not reached",
                "DEBUG",
                "must be",
            ],
        ),
        (
            "store",
            &String::from_utf8_lossy(&stored).into_owned(),
            &[&openid("slow")],
        ),
    ] {
        for told in told {
            assert!(text.contains(told), "{told} is not in the {place}:\n{text}");
        }
    }
}

fn on_file(dir: &Path) -> Vec<u8> {
    let mut stored = Vec::new();
    for entry in fs::read_dir(dir.join("s.sessions")).unwrap() {
        let file = fs::read(entry.unwrap().path()).unwrap();
        // Without unwritten space, which is most of the file.
        let sectors = file.chunks(512);
        stored.extend(
            sectors
                .filter(|it| it.iter().any(|byte| *byte != 0))
                .flatten(),
        );
    }
    stored
}

#[tokio::test]
async fn nothing_leaks_with_a_file_and_a_text_log() {
    run("text", "file:s.sessions", false, on_file).await;
}

#[tokio::test]
async fn nothing_leaks_with_a_file_and_a_json_log_over_tls() {
    run("json", "file:s.sessions", true, on_file).await;
}

#[tokio::test]
async fn nothing_leaks_with_redis_and_a_text_log_over_tls() {
    let redis = RedisServer::start();
    run("text", &redis.url(), true, |_| redis.dump()).await;
}

#[tokio::test]
async fn nothing_leaks_with_redis_and_a_json_log() {
    let redis = RedisServer::start();
    run("json", &redis.url(), false, |_| redis.dump()).await;
}

#[test]
fn debug_shows_no_secret() {
    let mut secrets = Secrets::default();
    for text in [SECRET, PASSWORD, "user-canary", "se/cret"] {
        secrets.add_text(text);
    }
    let store = format!("redis+cluster://user:{PASSWORD}@one,two");
    let apps = format!("wx1:{SECRET},wx1:{SECRET}2");
    let mut vars = vars("http://127.0.0.1:1", &[("SESSION_STORE", &store)]);
    let one = wxlogin::config::Config::from_vars(&vars).unwrap();
    vars.retain(|name, _| name != "WECHAT_APPID" && name != "WECHAT_SECRET");
    vars.insert("WECHAT_APPS".into(), apps);
    let several = wxlogin::config::Config::from_vars(&vars).unwrap();
    let token = Token::generate(Clock::system().wall()).unwrap();
    secrets.add_token(&token.to_text());
    let key = [0x1f; 16];
    secrets.add_bytes("a session_key", &key);
    let json = format!(
        r#"{{"openid":"o1","session_key":"{}"}}"#,
        STANDARD.encode(key)
    );
    let session = CodeSession::from_json(json.as_bytes()).unwrap();
    let bad_url = format!("redis://:{PASSWORD}@host:port").parse::<StoreUrl>();
    let bad_session = CodeSession::from_json(br#"{"openid":"o1","session_key":"se/cret"}"#);
    for text in ["token-canary", "13800138000"] {
        secrets.add_text(text);
    }
    let access_token = br#"{"access_token":"token-canary","expires_in":7200}"#;
    let access_token = AccessToken::from_json(access_token).unwrap();
    let number = br#"{"phone_info":{"phoneNumber":"13800138000","purePhoneNumber":"13800138000","countryCode":86,"watermark":{"appid":"wx1"}}}"#;
    let (number, bad_number) = (
        PhoneNumber::from_json(number, "wx1"),
        PhoneNumber::from_json(number, "wx2"),
    );
    let internal = InternalConfig {
        tokens: vec![SECRET.into()],
        gives_access_tokens: true,
        wechat_paths: Vec::new(),
    };
    let more = format!(
        "{access_token:?} {access_token:#?} {number:?} {number:#?} {bad_number:?} {internal:?} {internal:#?}"
    );
    secrets.assert_none_in("Debug", more.as_bytes());
    assert!(
        more.contains("7200") && more.contains("watermark"),
        "{more}"
    );
    let shown = format!(
        "{one:?} {one:#?} {several:?} {several:#?} {token:?} \
         {token:#?} {session:?} {session:#?} {bad_url:?} {bad_session:?}"
    );
    secrets.assert_none_in("Debug", shown.as_bytes());
    assert!(shown.contains("wx1") && shown.contains("o1"), "{shown}");
}
