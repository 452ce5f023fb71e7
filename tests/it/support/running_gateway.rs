//! A gateway that runs: nginx or Caddy with its configuration in `examples`, wxlogin and a backend behind it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::app::TestApp;
use super::gateways::{HOST, caddy, client, nginx, replace, write_certificate};
use super::ports::free_port;
use crate::fake_wechat::serve;

/// A gateway in front of wxlogin and of a backend that returns the identity headers it got.
pub struct Gateway {
    server: Child,
    /// Trusts the gateway's certificate, and resolves its name.
    client: reqwest::Client,
    port: u16,
    pub app: TestApp,
    dir: tempfile::TempDir,
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
pub enum Kind {
    Nginx,
    Caddy,
}

impl Kind {
    /// Starts one with its configuration in `examples`.
    pub async fn start(self, app: TestApp) -> Gateway {
        self.start_edited(app, str::to_owned).await
    }

    /// Starts one with its configuration after this edit.
    pub async fn start_edited(self, app: TestApp, edit: fn(&str) -> String) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let certificate = write_certificate(dir.path());
        let backend = backend().await;
        // Another process may take the port first.
        let mut started = None;
        for _ in 0..3 {
            let addresses = (app.client.addr, backend);
            started = self.launch(dir.path(), addresses, edit).await;
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
            dir,
        }
    }

    /// Starts it on a port that was free, and waits until it listens; `None` if it ends instead.
    pub async fn launch(
        self,
        dir: &Path,
        (wxlogin, backend): (SocketAddr, SocketAddr),
        edit: fn(&str) -> String,
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
        fs::write(&path, edit(&text)).unwrap();
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

/// Answers every request with its method, the headers that name the user and the length of its body.
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
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        let headers = [
            ("x-seen", seen.to_string()),
            ("x-all", all.to_string()),
            ("x-length", body.unwrap().len().to_string()),
        ];
        (headers, seen.to_string())
    };
    let router = Router::new().fallback(any(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router));
    addr
}

impl Gateway {
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("https://{HOST}:{}{path}", self.port);
        self.client.request(method, url)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn token(&self, code: &str) -> String {
        let answer = self.get(&format!("/onLogin?code={code}")).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }
    /// Sends these bytes over TLS, and reads until the connection ends.
    pub async fn raw(&self, request: &str) -> String {
        let certificate = CertificateDer::from_pem_file(self.dir.path().join("cert.pem"));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = connector.connect(name, stream.unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // nginx may close without the end of TLS.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

/// The response of the backend, if it got the request.
pub fn seen(answer: &Response) -> Option<Value> {
    let seen = answer.headers().get("x-seen")?;
    Some(serde_json::from_str(seen.to_str().unwrap()).unwrap())
}
