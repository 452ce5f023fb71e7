//! The users who have logged in, their `session_key`s from WeChat, and their sessions.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use wxlogin::WxLogin;

use super::requests::rfc3339;

/// How many users are remembered, and sessions of each.
const KEPT: usize = 50;

#[derive(Clone, Default)]
pub struct LoggedIn(Arc<Mutex<Vec<Known>>>);

struct Known {
    name: String,
    openid: String,
    unionid: Option<String>,
    /// The code and the time of each key. The newest is the last.
    keys: Vec<(String, SystemTime)>,
    sessions: Vec<KnownSession>,
}

#[derive(Clone)]
struct KnownSession {
    token: String,
    code: String,
    at: SystemTime,
}

#[derive(Serialize)]
pub struct User {
    /// The name in the code: `alice` of `user-alice.2`.
    pub name: String,
    pub openid: String,
    pub unionid: Option<String>,
    /// The number of the newest `session_key`, counted from 1.
    pub newest_session_key: usize,
    #[serde(serialize_with = "rfc3339")]
    pub newest_session_key_at: SystemTime,
    /// The living ones, the newest first.
    pub sessions: Vec<Session>,
}

#[derive(Serialize)]
pub struct Session {
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// The number of this login's `session_key`.
    pub session_key: usize,
}

impl LoggedIn {
    /// WeChat has answered a login with this body, which may be a refusal.
    pub fn wechat_answered(&self, code: &str, body: &Value) {
        let Some(openid) = body["openid"].as_str() else {
            return;
        };
        let mut users = self.lock();
        let at = users.iter().position(|user| user.openid == openid);
        let mut user = at.map_or_else(
            || Known {
                name: name(code).to_owned(),
                openid: openid.to_owned(),
                unionid: None,
                keys: Vec::new(),
                sessions: Vec::new(),
            },
            |at| users.remove(at),
        );
        user.unionid = body["unionid"].as_str().map(str::to_owned);
        user.keys.push((code.to_owned(), SystemTime::now()));
        if users.len() == KEPT {
            users.remove(0);
        }
        users.push(user);
    }

    /// wxlogin has answered a login with this body.
    pub fn wxlogin_answered(&self, code: &str, body: &Value) {
        let (Some(openid), Some(token)) = (body["openid"].as_str(), body["token"].as_str()) else {
            return;
        };
        let mut users = self.lock();
        let Some(user) = users.iter_mut().find(|user| user.openid == openid) else {
            return; // reset meanwhile
        };
        if user.sessions.iter().any(|session| session.token == token) {
            return;
        }
        if user.sessions.len() == KEPT {
            user.sessions.remove(0);
        }
        user.sessions.push(KnownSession {
            token: token.to_owned(),
            code: code.to_owned(),
            at: SystemTime::now(),
        });
    }

    /// The users, the last login first. Looks up at wxlogin which sessions are alive.
    pub async fn users(&self, wxlogin: &WxLogin) -> Vec<User> {
        let tokens: Vec<String> = {
            let users = self.lock();
            let sessions = users.iter().flat_map(|user| &user.sessions);
            sessions.map(|session| session.token.clone()).collect()
        };
        let mut dead = Vec::new();
        for token in tokens {
            if !matches!(wxlogin.session(&token).await, Ok(Some(_))) {
                dead.push(token);
            }
        }
        let mut users = self.lock();
        for user in users.iter_mut() {
            user.sessions
                .retain(|session| !dead.contains(&session.token));
        }
        users.iter().rev().map(Known::shown).collect()
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap()
    }
}

impl Known {
    fn shown(&self) -> User {
        let number = |code: &str| {
            let at = self.keys.iter().rposition(|(of, _)| of == code);
            at.map_or(0, |at| at + 1)
        };
        let sessions = self.sessions.iter().rev();
        User {
            name: self.name.clone(),
            openid: self.openid.clone(),
            unionid: self.unionid.clone(),
            newest_session_key: self.keys.len(),
            newest_session_key_at: self.keys.last().map_or(SystemTime::UNIX_EPOCH, |key| key.1),
            sessions: sessions
                .map(|session| Session {
                    since: session.at,
                    session_key: number(&session.code),
                })
                .collect(),
        }
    }
}

fn name(code: &str) -> &str {
    let script = code.split_once('.').map_or(code, |(script, _)| script);
    match script.split_once('-') {
        Some(("user" | "guest", name)) => name,
        Some((script @ ("busy" | "slow"), _)) => script,
        _ => "devtools", // a code as wx.login gives it
    }
}
