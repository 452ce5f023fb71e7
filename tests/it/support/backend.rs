//! The team's backend: requests to the internal listener.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::{APPID, openid};
use crate::support::app::TestApp;
use crate::support::client::{Answer, Client};

pub const TOKEN: &str = "internal-token-of-tests";
pub const OPEN: [(&str, &str); 2] = [("INTERNAL_TOKEN", TOKEN), ("INTERNAL_ACCESS_TOKEN", "on")];

/// A service with an internal listener, its token, and further settings.
pub async fn start(settings: &[(&str, &str)]) -> TestApp {
    TestApp::with(&[&OPEN[..], settings].concat()).await
}

/// The team's backend, with requests about users of one Mini Program.
#[derive(Clone)]
pub struct Backend {
    pub internal: Client,
    pub appid: &'static str,
}

impl Backend {
    pub fn of(app: &TestApp) -> Self {
        Self {
            internal: app.internal.clone(),
            appid: APPID,
        }
    }

    pub async fn ask(&self, method: Method, path: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("authorization", bearer.as_str())];
        self.internal.send(method, path, &headers).await
    }

    async fn post(&self, name: &str, action: &str, body: Value) -> Answer {
        let path = format!("/users/{}/{}/{action}", self.appid, openid(name));
        self.internal.post(&path, TOKEN, body.to_string()).await
    }

    pub async fn phone(&self, name: &str, code: &str) -> Answer {
        self.post(name, "phone", json!({"code": code})).await
    }

    pub async fn sign(&self, name: &str, data: &str) -> Answer {
        self.post(name, "sign", json!({"data": data})).await
    }

    pub async fn session_key(&self, name: &str) -> Answer {
        let path = format!("/users/{}/{}/session_key", self.appid, openid(name));
        self.ask(Method::GET, &path).await
    }

    pub async fn sessions(&self, name: &str) -> Answer {
        let path = format!("/users/{}/{}/sessions", self.appid, openid(name));
        self.ask(Method::GET, &path).await
    }

    pub async fn end(&self, name: &str) -> Answer {
        let path = format!("/users/{}/{}/sessions", self.appid, openid(name));
        self.ask(Method::DELETE, &path).await
    }

    pub async fn access_token(&self) -> Answer {
        let path = format!("/access_token/{}", self.appid);
        self.ask(Method::GET, &path).await
    }
}
