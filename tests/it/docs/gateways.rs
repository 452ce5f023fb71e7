//! The configurations of nginx and Caddy that the documentation shows, with the real servers.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::fake_wechat::{APPID, openid, serve};
use crate::support::app::TestApp;
use crate::support::gateways::{
    HOST, caddy, client, example, free_port, nginx, replace, write_certificate,
};
use crate::support::redis_server::RedisServer;
const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
];

/// A gateway in front of wxlogin and of a backend that returns the identity headers it got.
struct Gateway {
    server: Child,
    /// Trusts the gateway's certificate, and resolves its name.
    client: reqwest::Client,
    port: u16,
    app: TestApp,
    _dir: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // nginx's worker ends with its master only if the master is asked to stop.
        let quit = format!("kill -TERM {}", self.server.id());
        let _ = Command::new("sh").args(["-c", &quit]).status();
        let _ = self.server.wait();
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    Caddy,
}

impl Kind {
    /// Starts one with its configuration in `examples`.
    async fn start(self, app: TestApp) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let certificate = write_certificate(dir.path());
        let backend = backend().await;
        // Another process may take the port first.
        let mut started = None;
        for _ in 0..3 {
            started = self.launch(dir.path(), app.client.addr, backend).await;
            if started.is_some() {
                break;
            }
        }
        let (server, port) = started.unwrap_or_else(|| panic!("{self:?} does not start"));
        let client = client(certificate, port);
        Gateway {
            server,
            client,
            port,
            app,
            _dir: dir,
        }
    }

    /// Starts it on a port that was free, and waits until it listens; `None` if it ends instead.
    async fn launch(
        self,
        dir: &Path,
        wxlogin: SocketAddr,
        backend: SocketAddr,
    ) -> Option<(Child, u16)> {
        let port = free_port();
        let (file, mut command) = match self {
            Self::Nginx => ("nginx.conf", nginx(dir, port)),
            Self::Caddy => ("Caddyfile", caddy(dir, port)),
        };
        let path = dir.join(file);
        let text = fs::read_to_string(&path).unwrap();
        let text = replace(&text, "127.0.0.1:3000", &wxlogin.to_string());
        let text = replace(&text, "127.0.0.1:8080", &backend.to_string());
        fs::write(&path, text).unwrap();
        let server = command.stdout(Stdio::null()).spawn();
        let mut server = server.expect("not installed: tests/run.sh installs it");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "{self:?} does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some((server, port))
    }
}

/// Answers every request with its method and the headers that name the user.
async fn backend() -> SocketAddr {
    let echo = async |request: Request| {
        // As servers with CGI variable names do, in which dashes are underscores too.
        let mut seen = json!({"method": request.method().as_str()});
        let mut all = json!({});
        for (name, value) in request.headers() {
            all[name.as_str()] = json!(value.to_str().unwrap());
            let name = name.as_str().replace('_', "-");
            if let Some(name) = name.strip_prefix("x-wx-") {
                let value = value.to_str().unwrap();
                let values = seen[name].as_array().cloned().unwrap_or_default();
                seen[name] = [values, vec![json!(value)]].concat().into();
            }
        }
        let headers = [("x-seen", seen.to_string()), ("x-all", all.to_string())];
        (headers, seen.to_string())
    };
    let router = Router::new().fallback(any(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router));
    addr
}

impl Gateway {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("https://{HOST}:{}{path}", self.port);
        self.client.request(method, url)
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn token(&self, code: &str) -> String {
        let answer = self.get(&format!("/onLogin?code={code}")).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }
}

/// The response of the backend, if it got the request.
fn seen(answer: &Response) -> Option<Value> {
    let seen = answer.headers().get("x-seen")?;
    Some(serde_json::from_str(seen.to_str().unwrap()).unwrap())
}

async fn tells_a_backend_who_it_is(kind: Kind) {
    let gateway = kind.start(TestApp::start().await).await;
    let alice = gateway.token("user-alice").await;
    let bob = gateway.token("guest-bob").await; // without a unionid
    for method in METHODS {
        for (token, name) in [(&alice, "alice"), (&bob, "bob")] {
            let answer = gateway
                .request(method.clone(), "/api/things?x=1")
                .bearer_auth(token)
                .header("X-WX-OPENID", "oForged")
                .header("X-WX-UNIONID", "oForged")
                .header("x-wx-appid", "wxforged")
                .header("X_WX_OPENID", "oForged")
                .header("X-WX_UNIONID", "oForged")
                .header("X-WX-FROM-OPENID", "oForged")
                .header("X-WX-SOURCE", "wx_client")
                .header("X-WX-FOO", "oForged")
                .header("x_wx_bar", "oForged")
                .header("Connection", "close, X-WX-OPENID, X-WX-UNIONID")
                .body("a body")
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{kind:?} {method}");
            let seen = seen(&answer).unwrap();
            assert_eq!(seen["method"], method.as_str());
            assert_eq!(seen["openid"], json!([openid(name)]), "{kind:?} {method}");
            assert_eq!(seen["appid"], json!([APPID]));
            let names = seen.as_object().unwrap().len();
            if name == "alice" {
                let unionid = seen["unionid"][0].as_str().unwrap();
                assert!(unionid.starts_with('o') && unionid != "oForged", "{seen}");
                assert_eq!(names, 4, "{kind:?} {method} {seen}");
            } else {
                assert_eq!(names, 3, "{kind:?} {method} {seen}");
            }
        }
        for token in ["", "wxs_forged"] {
            let request = gateway.request(method.clone(), "/api/things");
            let request = request.bearer_auth(token).header("X-WX-OPENID", "oForged");
            let answer = request.body("a body").send().await.unwrap();
            assert_eq!(answer.status(), 401, "{kind:?} {method}");
            assert_eq!(seen(&answer), None);
            let headers = answer.headers().clone();
            assert_eq!(headers["www-authenticate"], "Bearer");
            assert_eq!(headers["content-type"], "application/problem+json");
            if method != Method::HEAD {
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], "invalid_token");
                assert_eq!(problem["action"], "login_again");
                assert!(problem["request_id"].is_string());
            }
        }
    }
    // An ended session is refused at once.
    let ended = gateway
        .request(Method::DELETE, "/session")
        .bearer_auth(&alice);
    assert_eq!(ended.send().await.unwrap().status(), 204);
    let request = gateway
        .request(Method::GET, "/api/things")
        .bearer_auth(&alice);
    assert_eq!(request.send().await.unwrap().status(), 401);
    // No other path of wxlogin is reachable.
    for path in ["/readyz", "/healthz", "/metrics", "/_who", "/"] {
        let answer = gateway.request(Method::GET, path).bearer_auth(&bob);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{kind:?} {path}");
        if path != "/_who" {
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "not_found", "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_backend_gets_the_clients_address_and_host_and_no_token() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let token = gateway.token("user-alice").await;
        let request = gateway
            .request(Method::GET, "/api/socket")
            .bearer_auth(&token)
            .header("X-Forwarded-For", "203.0.113.9")
            .header("X-Real-IP", "203.0.113.9")
            .header("Content-Type", "application/json")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13");
        let answer = request.send().await.unwrap();
        let all = answer.headers()["x-all"].to_str().unwrap();
        let all: Value = serde_json::from_str(all).unwrap();
        let host = all["host"].as_str().unwrap();
        assert_eq!(host.split(':').next(), Some(HOST), "{kind:?} {all}");
        for (name, value) in [
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("content-type", "application/json"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ] {
            assert_eq!(all[name], value, "{kind:?} {name} in {all}");
        }
        let connection = all["connection"].as_str().unwrap();
        assert!(connection.eq_ignore_ascii_case("upgrade"), "{kind:?} {all}");
        assert_eq!(all["authorization"], Value::Null, "{kind:?} {all}");
    }
}

/// Neither wxlogin nor the backend listens, or the backend alone does not.
#[tokio::test]
async fn the_moment_without_a_service_behind_it_is_a_problem_document() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let app = TestApp::start().await;
        let token = app.client.token("user-alice").await;
        let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
        for wxlogin in [app.client.addr, nobody] {
            let dir = tempfile::tempdir().unwrap();
            let certificate = write_certificate(dir.path());
            let launched = kind.launch(dir.path(), wxlogin, nobody).await;
            let (mut server, port) = launched.unwrap();
            let client = client(certificate, port);
            let paths: &[&str] = if wxlogin == nobody {
                &["/onLogin?code=user-bob", "/session", "/api/things"]
            } else {
                &["/api/things"]
            };
            for path in paths {
                let request = client.get(format!("https://{HOST}:{port}{path}"));
                let answer = request.bearer_auth(&token).send().await.unwrap();
                assert_eq!(answer.status(), 503, "{kind:?} {path}");
                assert_eq!(answer.headers()["retry-after"], "2", "{kind:?} {path}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["action"], "retry_later", "{kind:?} {path}");
                assert!(problem["request_id"].as_str().unwrap().len() > 16);
            }
            let quit = format!("kill -TERM {}", server.id());
            Command::new("sh").args(["-c", &quit]).status().unwrap();
            server.wait().unwrap();
        }
    }
}

#[tokio::test]
async fn nginx_tells_a_backend_who_it_is() {
    tells_a_backend_who_it_is(Kind::Nginx).await;
}

#[tokio::test]
async fn caddy_tells_a_backend_who_it_is() {
    tells_a_backend_who_it_is(Kind::Caddy).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_and_nobody_is_logged_out() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let redis = RedisServer::start();
        let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
        let gateway = kind.start(app).await;
        let token = gateway.token("user-alice").await;
        redis.cli(&["ACL", "SETUSER", "default", "-get"]);
        let request = gateway
            .request(Method::GET, "/api/things")
            .bearer_auth(&token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 503, "{kind:?}");
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(seen(&answer), None);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "store_unavailable");
        redis.cli(&["ACL", "SETUSER", "default", "+get"]);
        let request = gateway
            .request(Method::GET, "/api/things")
            .bearer_auth(&token);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn nginx_lets_no_address_send_codes_without_end() {
    let gateway = Kind::Nginx.start(TestApp::start().await).await;
    let logins =
        (0..200).map(|number| gateway.get_owned(format!("/onLogin?code=error-40029.{number}")));
    let answers = futures_util::future::join_all(logins).await;
    let refused: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status() == 429)
        .collect();
    assert!(refused.len() > 50, "{}", refused.len());
    assert_eq!(gateway.app.wechat.requests(), 200 - refused.len());
    for answer in refused {
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            (&problem["code"], &problem["action"]),
            (&"rate_limited".into(), &"retry_later".into())
        );
    }
}

impl Gateway {
    async fn get_owned(&self, path: String) -> Response {
        self.get(&path).await
    }
}

#[test]
fn the_documentation_shows_what_is_tested() {
    for page in ["docs/en/reverse-proxy.md", "docs/zh-CN/reverse-proxy.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(path).unwrap();
        for name in ["nginx.conf", "Caddyfile"] {
            assert!(text.contains(&example(name)), "{page} shows another {name}");
        }
    }
}
