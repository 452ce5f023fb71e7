//! An HTTP client of the service.

use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::TestApp;

/// An HTTP client of the service.
#[derive(Clone)]
pub struct Client {
    pub addr: SocketAddr,
    http: reqwest::Client,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { addr, http }
    }

    /// Any request: `path` with its query, and headers.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_send(method, path, headers).await.unwrap()
    }

    /// The same, with an error if the service closes the connection.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Answer> {
        let url = format!("http://{}{path}", self.addr);
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await?).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    pub async fn login(&self, code: &str) -> Answer {
        self.get(&format!("/onLogin?code={code}")).await
    }

    /// Logs in and returns the token.
    pub async fn token(&self, code: &str) -> String {
        let answer = self.login(code).await;
        answer.json()["token"]
            .as_str()
            .expect(&answer.text)
            .to_owned()
    }

    pub async fn session(&self, token: &str) -> Answer {
        self.with_token(Method::GET, "/session", token).await
    }

    pub async fn end(&self, token: &str) -> Answer {
        self.with_token(Method::DELETE, "/session", token).await
    }

    pub async fn end_all(&self, token: &str) -> Answer {
        self.with_token(Method::DELETE, "/session?all=true", token)
            .await
    }

    /// Posts a body with a token.
    pub async fn post(&self, path: &str, token: &str, body: impl Into<reqwest::Body>) -> Answer {
        let url = format!("http://{}{path}", self.addr);
        let request = self.http.post(url).bearer_auth(token).body(body);
        Answer::read(request.send().await.unwrap()).await.unwrap()
    }

    pub async fn decrypt(&self, token: &str, (data, iv): &(String, String)) -> Answer {
        let body = json!({"encryptedData": data, "iv": iv});
        self.post("/session/decrypt", token, body.to_string()).await
    }

    pub async fn verify(&self, token: &str, raw_data: &str, signature: &str) -> Answer {
        let body = json!({"rawData": raw_data, "signature": signature});
        self.post("/session/verify", token, body.to_string()).await
    }

    async fn with_token(&self, method: Method, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(method, path, &[("authorization", &bearer)]).await
    }
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        Ok(Self {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// A problem document, complete and consistent, with this status, code and action.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str, action: &str) -> &Self {
        self.assert_status(status);
        let problem = self.json();
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(problem["status"], status, "{}", self.text);
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(problem["action"], action, "{}", self.text);
        assert_eq!(problem["title"], self.status.canonical_reason().unwrap());
        assert!(
            problem["detail"].as_str().unwrap().ends_with('.'),
            "{}",
            self.text
        );
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let must_wait = status == 429 || status == 503;
        assert_eq!(
            self.header("retry-after").is_some(),
            must_wait,
            "{}",
            self.text
        );
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(self.header("www-authenticate"), challenge);
        self
    }
}

/// The parts of a response that a client can compare: all but the request id and the date.
pub fn seen(answer: &Answer) -> String {
    let id = answer.header("x-request-id").unwrap();
    let headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .collect();
    let text = answer.text.replace(id, "ID");
    format!("{} {headers:?} {text}", answer.status)
}

/// Sends bytes over a new connection, and reads until the service closes it: after an error, or when no second
/// request arrives.
pub async fn exchange_bytes(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.client.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
