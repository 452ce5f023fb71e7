//! The users who have logged in, their `session_key`s from WeChat, and their sessions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use wxlogin::WxLogin;

use super::fake_wechat::FakeWechat;
use super::requests::rfc3339;

/// How many users are remembered, and sessions and codes of each.
const KEPT: usize = 50;

#[derive(Clone, Default)]
pub struct LoggedIn(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    last_user: u64,
    last_session: u64,
    /// The last login at the end.
    users: VecDeque<Known>,
}

struct Known {
    /// Counted from 1 in the order of the first logins.
    number: u64,
    name: String,
    openid: String,
    unionid: Option<String>,
    /// How many `session_key`s WeChat has given out.
    keys: usize,
    newest_key_at: SystemTime,
    /// The last codes, and the number of the key of each.
    codes: VecDeque<(String, usize)>,
    sessions: VecDeque<KnownSession>,
}

#[derive(Clone)]
pub struct KnownSession {
    pub id: u64,
    pub token: String,
    /// By wxlogin's clock, in Unix seconds.
    pub expires_at: u64,
    key: usize,
    since: SystemTime,
}

#[derive(Serialize)]
pub struct User {
    /// In the order of the first logins.
    #[serde(skip)]
    pub number: u64,
    /// The name in the code: `alice` of `user-alice.2`.
    pub name: String,
    pub openid: String,
    pub unionid: Option<String>,
    /// The number of the newest `session_key`, counted from 1.
    pub newest_session_key: usize,
    #[serde(serialize_with = "rfc3339")]
    pub newest_session_key_at: SystemTime,
    /// Those that have not ended, the newest first.
    pub sessions: Vec<Session>,
}

#[derive(Serialize)]
pub struct Session {
    pub id: u64,
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// By wxlogin's clock, in Unix seconds.
    pub expires_at: u64,
    /// The number of this login's `session_key`.
    #[allow(clippy::struct_field_names, reason = "WeChat's name")]
    pub session_key: usize,
}

impl LoggedIn {
    /// WeChat has answered a login with this body, which may be a refusal.
    pub fn wechat_answered(&self, code: &str, body: &Value, wechat: &FakeWechat) {
        let (Some(openid), Some(_)) = (body["openid"].as_str(), body["session_key"].as_str())
        else {
            return;
        };
        let mut kept = self.lock();
        let at = kept.users.iter().position(|user| user.openid == openid);
        let known = at.and_then(|at| kept.users.remove(at));
        let mut user = known.unwrap_or_else(|| {
            kept.last_user += 1;
            Known::new(kept.last_user, openid, wechat)
        });
        user.unionid = body["unionid"].as_str().map(str::to_owned);
        user.keys += 1;
        user.newest_key_at = SystemTime::now();
        push(&mut user.codes, (code.to_owned(), user.keys));
        push(&mut kept.users, user);
    }

    /// wxlogin has answered a login with this body, when its clock said `now`.
    pub fn wxlogin_answered(&self, code: &str, body: &Value, now: u64) {
        let (Some(openid), Some(token)) = (body["openid"].as_str(), body["token"].as_str()) else {
            return;
        };
        let mut kept = self.lock();
        kept.last_session += 1;
        let id = kept.last_session;
        let Some(user) = kept.users.iter_mut().find(|user| user.openid == openid) else {
            return; // reset meanwhile
        };
        let key = user.codes.iter().rev().find(|(of, _)| of == code);
        let session = KnownSession {
            id,
            token: token.to_owned(),
            expires_at: now + body["expires_in"].as_u64().unwrap_or_default(),
            key: key.map_or(0, |(_, number)| *number),
            since: SystemTime::now(),
        };
        push(&mut user.sessions, session);
    }

    /// The user of a token.
    pub fn openid_of(&self, token: &str) -> Option<String> {
        let kept = self.lock();
        let has_token = |user: &&Known| user.sessions.iter().any(|session| session.token == token);
        kept.users
            .iter()
            .find(has_token)
            .map(|user| user.openid.clone())
    }

    pub fn session(&self, id: u64) -> Option<KnownSession> {
        let kept = self.lock();
        let mut sessions = kept.users.iter().flat_map(|user| &user.sessions);
        sessions.find(|session| session.id == id).cloned()
    }

    /// The users, the last login first. Looks up at wxlogin which sessions have not ended.
    pub async fn users(&self, wxlogin: &WxLogin) -> Vec<User> {
        let tokens: Vec<String> = {
            let kept = self.lock();
            let sessions = kept.users.iter().flat_map(|user| &user.sessions);
            sessions.map(|session| session.token.clone()).collect()
        };
        let mut ended = Vec::new();
        for token in tokens {
            if !matches!(wxlogin.session(&token).await, Ok(Some(_))) {
                ended.push(token);
            }
        }
        let mut kept = self.lock();
        for user in &mut kept.users {
            user.sessions
                .retain(|session| !ended.contains(&session.token));
        }
        kept.users.iter().rev().map(Known::shown).collect()
    }

    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}

impl Known {
    fn new(number: u64, openid: &str, wechat: &FakeWechat) -> Self {
        Self {
            number,
            name: wechat
                .user(openid)
                .map_or_else(String::new, |user| user.name),
            openid: openid.to_owned(),
            unionid: None,
            keys: 0,
            newest_key_at: SystemTime::UNIX_EPOCH,
            codes: VecDeque::new(),
            sessions: VecDeque::new(),
        }
    }

    fn shown(&self) -> User {
        let sessions = self.sessions.iter().rev();
        User {
            number: self.number,
            name: self.name.clone(),
            openid: self.openid.clone(),
            unionid: self.unionid.clone(),
            newest_session_key: self.keys,
            newest_session_key_at: self.newest_key_at,
            sessions: sessions
                .map(|session| Session {
                    id: session.id,
                    since: session.since,
                    expires_at: session.expires_at,
                    session_key: session.key,
                })
                .collect(),
        }
    }
}

/// Keeps the newest.
fn push<T>(all: &mut VecDeque<T>, newest: T) {
    if all.len() == KEPT {
        all.pop_front();
    }
    all.push_back(newest);
}
