//! A stand-in for WeChat: strict in what it accepts, one-time codes, scripted by the code itself.
//!
//! A model ([`Model`]), an HTTP server over it, and a file for each call. Used by the tests and the sandbox.

mod calls;
mod check_session;
mod code_to_session;
mod codes;
mod model;
mod others;
mod phone_number;
mod real_code;
mod reply;
mod rules;
mod script;
mod stable_token;
mod token;
mod users;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use tokio::net::TcpListener;

use calls::SharedModel;
pub use calls::{BODY_TIMEOUT, MAX_BODY, serve};
use model::Model;
pub use model::{User, parameter};
pub use others::Received;
pub use real_code::at_address_of;
pub use reply::refusal;
pub use rules::{LOGIN, Rule};
pub use script::Script;
pub use users::{
    encrypt, hex, hmac_sign, name_in_code, name_of, openid, openid_in, phone_number, session_key,
    sign, user_info,
};

pub const APPID: &str = "wx0123456789abcdef";
pub const SECRET: &str = "5ecre7c0ffee5ecre7c0ffee5ecre7aa";
/// A second Mini Program.
pub const OTHER_APPID: &str = "wxfedcba9876543210";
pub const OTHER_SECRET: &str = "5ecre7bee5ecre7bee5ecre7bee5ecbb";

/// A running stand-in.
#[derive(Clone)]
pub struct FakeWechat {
    addr: SocketAddr,
    model: SharedModel,
}

impl FakeWechat {
    /// Starts on a free port of the loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self::new(listener.local_addr().unwrap());
        let router = fake.router();
        tokio::spawn(async move { serve(listener, router).await });
        fake
    }

    /// Without a listener: the caller serves its routes at this address.
    pub fn new(addr: SocketAddr) -> Self {
        let model = Arc::new(Mutex::new(Model::new()));
        Self { addr, model }
    }

    /// Resets its state.
    pub fn reset(&self) {
        *self.model() = Model::new();
    }

    /// Its routes, for a test that serves them in another way.
    pub fn router(&self) -> Router {
        calls::router(self.model.clone())
    }

    /// For `WECHAT_API_BASE`.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Resets an AppSecret, as somebody does in the WeChat admin console.
    pub fn reset_secret(&self, appid: &str, secret: &str) {
        self.model().secrets.insert(appid.into(), secret.into());
    }

    /// Refuses every request with this errcode.
    pub fn refuse_everything(&self, errcode: i64) {
        self.set_rule(Rule::refuses_all(errcode));
    }

    /// Replaces the rule of the same call.
    pub fn set_rule(&self, rule: Rule) {
        self.model().rules.set(rule);
    }

    /// Removes the rule of a call, or all.
    pub fn remove_rules(&self, call: Option<&str>) {
        self.model().rules.remove(call);
    }

    pub fn rules(&self) -> Vec<Rule> {
        self.model().rules.list()
    }

    /// Answers this code with this body.
    pub fn script(&self, code: &str, body: &str) {
        self.model().scripted.insert(code.into(), body.into());
    }

    /// How many requests for a code of `wx.login` it got, accepted or not.
    pub fn requests_for(&self, code: &str) -> usize {
        let model = self.model();
        model.login_codes.get(code).map_or(0, |seen| seen.requests)
    }

    /// How many requests it got that named a code of `wx.login`.
    pub fn requests(&self) -> usize {
        self.model().login_codes.requests
    }

    /// How many requests for a phone code it got, accepted or not.
    pub fn phone_requests_for(&self, code: &str) -> usize {
        let model = self.model();
        model.phone_codes.get(code).map_or(0, |seen| seen.requests)
    }

    /// The newest requests for another path than those of wxlogin's own calls.
    pub fn requests_to(&self, path: &str) -> Vec<Received> {
        self.model().inbox.of(path)
    }

    /// How many requests had a wrong AppSecret.
    pub fn wrong_secrets(&self) -> usize {
        self.model().wrong_secrets
    }

    /// The codes with a `session_key`, and the keys.
    pub fn keys(&self) -> Vec<(String, [u8; 16])> {
        let model = self.model();
        let codes = model.login_codes.exchanged();
        codes
            .map(|code| (code.clone(), session_key(code)))
            .collect()
    }

    /// A user who has logged in.
    pub fn user(&self, openid: &str) -> Option<User> {
        self.model().users.get(openid).cloned()
    }

    /// A user logs in elsewhere: the newest key is replaced.
    pub fn replace_key(&self, openid: &str) {
        self.model().users.replace_key(openid, [0x77; 16]);
    }

    /// The current `access_token`.
    pub fn access_token(&self, appid: &str) -> String {
        self.model().tokens.current(appid)
    }

    /// All `access_token`s that it has given out.
    pub fn access_tokens(&self) -> Vec<String> {
        self.model().tokens.given.iter().cloned().collect()
    }

    /// Refuses the current `access_token` of a Mini Program from now on, but goes on giving it out.
    pub fn refuse_access_token(&self, appid: &str, errcode: i64) {
        let mut model = self.model();
        let token = model.tokens.current(appid);
        model.tokens.refused.insert(token, errcode);
    }

    /// Gives out another `access_token`, as after a forced refresh elsewhere; the old one is refused.
    pub fn replace_access_token(&self, appid: &str, errcode: i64) {
        self.refuse_access_token(appid, errcode);
        *self.model().tokens.current.entry(appid.into()).or_insert(1) += 1;
    }

    /// Starts or stops refusing requests for an `access_token`.
    pub fn refuse_access_tokens(&self, errcode: Option<i64>) {
        self.model().tokens.refuses = errcode;
    }

    /// Lets requests for an `access_token` take so many milliseconds.
    pub fn delay_access_tokens(&self, delay: u64) {
        self.model().tokens.delay = delay;
    }

    /// How many requests for an `access_token` it got.
    pub fn access_token_requests(&self) -> usize {
        self.model().tokens.asked
    }

    /// How many calls it got with an `access_token` that it refused.
    pub fn refused_access_tokens(&self) -> usize {
        self.model().tokens.refusals
    }
}
