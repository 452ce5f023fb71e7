//! wxlogin mounted in another Axum app, served by `axum::serve`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::extract::{FromRef, State};
use axum::http::HeaderValue;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use reqwest::Method;
use tokio::net::TcpListener;
use wxlogin::{SignedIn, WxLogin};

use crate::fake_wechat::{APPID, FakeWechat, openid};
use crate::support::app::{config, vars};
use crate::support::client::Client;
use crate::support::process::kill;

/// The example, killed when it is dropped.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_example(wechat: &FakeWechat) -> (Example, Client) {
    // Cargo builds examples beside the tests.
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let mut child = Command::new(target.join("examples/axum"))
        .env_clear()
        .env("APP_ADDR", "127.0.0.1:0")
        .envs(vars(&wechat.base(), &[]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let (_, addr) = line.trim().split_once("http://").unwrap();
    (Example(child), Client::new(addr.parse().unwrap()))
}

#[tokio::test]
async fn the_example_app_has_logins_and_an_order_list_for_each_user() {
    let wechat = FakeWechat::start().await;
    let (_example, client) = start_example(&wechat);
    let (alice, bob) = (
        client.token("user-alice").await,
        client.token("user-bob").await,
    );
    let orders = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        client.send(Method::GET, "/api/orders", &headers).await
    };
    client
        .post("/api/orders", &alice, "one tea")
        .await
        .assert_status(200);
    assert_eq!(orders(&alice).await.text, r#"["one tea"]"#);
    assert_eq!(orders(&bob).await.text, "[]");
    client.end(&alice).await.assert_status(204);
    let ended = orders(&alice).await;
    ended.assert_status(401);
    assert_eq!(ended.json()["code"], "invalid_token");
    let greeting = client.get("/").await;
    assert!(
        greeting.text.starts_with("Hello! Log in"),
        "{}",
        greeting.text
    );
}

#[test]
fn the_example_app_stops_also_while_a_client_does_not_finish_its_request() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wechat = runtime.block_on(FakeWechat::start());
    let (mut example, client) = start_example(&wechat);
    let mut stream = TcpStream::connect(client.addr).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    runtime.block_on(client.get("/")).assert_status(200);
    kill("TERM", example.0.id());
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = example.0.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "still running");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

/// A host app with layers around all its routes.
#[derive(Clone)]
struct Host {
    wxlogin: WxLogin,
    name: &'static str,
}

impl FromRef<Host> for WxLogin {
    fn from_ref(host: &Host) -> Self {
        host.wxlogin.clone()
    }
}

async fn whoami(SignedIn(user): SignedIn, State(host): State<Host>) -> String {
    format!(
        "{} {} {:?} {} until {} at {}",
        user.appid, user.openid, user.unionid, user.id, user.expires, host.name
    )
}

async fn maybe(user: Option<SignedIn>) -> String {
    user.map_or("nobody".to_owned(), |SignedIn(user)| user.openid)
}

async fn serve_host(wechat: &FakeWechat) -> (Client, WxLogin) {
    let wxlogin = WxLogin::new(config(&wechat.base(), &[])).unwrap();
    let host = Host {
        wxlogin: wxlogin.clone(),
        name: "the shop",
    };
    let app = Router::new()
        .route("/whoami", get(whoami))
        .route("/maybe", get(maybe))
        .merge(wxlogin.routes())
        .nest("/wx", wxlogin.routes())
        .fallback(async || "the host's own 404")
        .with_state(host)
        .layer(Extension(()))
        .layer(map_response(async |mut response: Response| {
            let host = HeaderValue::from_static("yes");
            response.headers_mut().insert("x-host", host);
            response
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (client, wxlogin)
}

#[tokio::test]
async fn routes_work_merged_and_nested_and_the_rest_of_the_host_stays_its_own() {
    let wechat = FakeWechat::start().await;
    let (client, wxlogin) = serve_host(&wechat).await;
    let series = || {
        let text = wxlogin.metrics_text();
        let names = text.lines().filter(|line| line.contains("route="));
        let names: Vec<_> = names.filter_map(|line| line.rsplit_once(' ')).collect();
        let names = names.into_iter().map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    let from_the_start = series();
    for prefix in ["", "/wx"] {
        let login = client
            .get(&format!("{prefix}/onLogin?code=user-alice"))
            .await;
        login.assert_status(200);
        assert!(login.header("x-request-id").is_some());
        assert_eq!(login.header("cache-control"), Some("no-store"));
        assert_eq!(login.header("x-host"), Some("yes"));
        let refused = client.get(&format!("{prefix}/onLogin")).await;
        refused.assert_problem(400, "missing_code", "fix_request");
        let method = client
            .send(Method::PUT, &format!("{prefix}/session"), &[])
            .await;
        method.assert_problem(405, "method_not_allowed", "fix_request");
        assert_eq!(method.header("allow"), Some("GET,HEAD,DELETE"));
    }
    assert_eq!(
        wechat.requests_for("user-alice"),
        1,
        "one code, one exchange"
    );
    // Nested routes are counted in the series that exist from the start.
    let new: Vec<_> = series().difference(&from_the_start).cloned().collect();
    assert_eq!(
        new,
        [r#"wxlogin_requests_total{method="other",route="/session",status="405"}"#]
    );
    let text = wxlogin.metrics_text();
    let both = r#"wxlogin_requests_total{method="GET",route="/onLogin",status="400"} 2"#;
    assert!(text.contains(both), "{text}");
    for path in ["/nowhere", "/healthz", "/readyz", "/metrics"] {
        let answer = client.get(path).await;
        assert_eq!(answer.text, "the host's own 404", "{path}");
        assert!(answer.header("x-request-id").is_none());
        assert!(answer.header("cache-control").is_none());
    }
    // The request id that the host sets is used.
    let headers = [("x-request-id", "host-1")];
    let answer = client.send(Method::GET, "/session", &headers).await;
    answer.assert_problem(401, "invalid_token", "login_again");
    assert_eq!(answer.header("x-request-id"), Some("host-1"));
}

#[tokio::test]
async fn a_handler_with_signed_in_runs_for_living_tokens_only() {
    let wechat = FakeWechat::start().await;
    let (client, wxlogin) = serve_host(&wechat).await;
    let token = client.token("user-alice").await;
    let bearer = format!("Bearer {token}");
    let ask = async |path: &str, values: &[&str]| {
        let headers: Vec<_> = values
            .iter()
            .map(|value| ("authorization", *value))
            .collect();
        client.send(Method::GET, path, &headers).await
    };
    let answer = ask("/whoami", &[&bearer]).await;
    let alice = openid("alice");
    assert!(
        answer.text.starts_with(&format!("{APPID} {alice} Some(")),
        "{}",
        answer.text
    );
    assert_eq!(ask("/maybe", &[&bearer]).await.text, alice);
    assert_eq!(ask("/maybe", &[]).await.text, "nobody");
    for not_ours in ["Basic eDp5", "bearer", "Bearer another-token"] {
        assert_eq!(
            ask("/maybe", &[not_ours]).await.text,
            "nobody",
            "{not_ours}"
        );
    }
    let (dead, twice) = (format!("{bearer}x"), [&*bearer, &*bearer]);
    for (path, values) in [
        ("/whoami", &[][..]),
        ("/whoami", &["Basic eDp5"]),
        ("/whoami", &[&dead]),
        ("/maybe", &[&dead]),
        ("/whoami", &["bearer"]),
        ("/whoami", &twice),
    ] {
        let answer = ask(path, values).await;
        answer.assert_status(401);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_token", "{path} {values:?}");
        assert_eq!(problem["action"], "login_again");
    }
    let user = wxlogin.session(&token).await.unwrap().unwrap();
    assert!(user.id > 0);
    let session = format!(" {} until {} at ", user.id, user.expires);
    assert!(answer.text.contains(&session), "{}", answer.text);
    assert_eq!((user.appid, user.openid), (APPID.to_owned(), alice.clone()));
    assert!(wxlogin.session("wxs_nothing").await.unwrap().is_none());
    wxlogin.ready().await.unwrap();
    wxlogin.end_all(APPID, &alice).await.unwrap();
    ask("/whoami", &[&bearer]).await.assert_status(401);
}
