//! The state of the stand-in.

use std::collections::{HashMap, HashSet, VecDeque};

use super::codes::Codes;
use super::others::Inbox;
use super::reply::Refused;
use super::rules::Rules;
use super::{APPID, OTHER_APPID, OTHER_SECRET, SECRET};

/// The most users who are remembered.
const MAX_USERS: usize = 20_000;

pub struct Model {
    /// By appid.
    pub secrets: HashMap<String, String>,
    pub rules: Rules,
    /// Answers that a test wrote, by code.
    pub scripted: HashMap<String, String>,
    /// Of `wx.login`.
    pub login_codes: Codes,
    pub phone_codes: Codes,
    pub users: Users,
    /// Requests for other paths than those of wxlogin's own calls.
    pub inbox: Inbox,
    pub wrong_secrets: usize,
    pub tokens: Tokens,
}

/// Those who have logged in.
#[derive(Default)]
pub struct Users {
    by_openid: HashMap<String, User>,
    oldest_first: VecDeque<String>,
    /// The number of users of the script `new-user`.
    new: usize,
}

#[derive(Clone)]
pub struct User {
    pub name: String,
    pub has_unionid: bool,
    /// The newest `session_key`.
    pub key: [u8; 16],
}

/// `access_token`s, and the settings of tests for them.
#[derive(Default)]
pub struct Tokens {
    /// The number of the current token by appid; the token is made from both.
    pub current: HashMap<String, u32>,
    /// The number of tokens of the older kind, which are all different.
    pub older: u32,
    /// Tokens that are refused, with the errcode.
    pub refused: HashMap<String, i64>,
    /// Requests for a token, accepted or not.
    pub asked: usize,
    /// Requests with a token that is refused.
    pub refusals: usize,
    /// An errcode for every request for a token.
    pub refuses: Option<i64>,
    /// Milliseconds before an answer.
    pub delay: u64,
    /// All that were given out.
    pub given: HashSet<String>,
}

impl Model {
    pub fn new() -> Self {
        let secrets = [(APPID, SECRET), (OTHER_APPID, OTHER_SECRET)];
        Self {
            secrets: secrets
                .map(|(appid, secret)| (appid.into(), secret.into()))
                .into(),
            rules: Rules::default(),
            scripted: HashMap::new(),
            login_codes: Codes::default(),
            phone_codes: Codes::default(),
            users: Users::default(),
            inbox: Inbox::default(),
            wrong_secrets: 0,
            tokens: Tokens::default(),
        }
    }

    pub fn check_secret(&mut self, appid: &str, secret: &str) -> Result<(), Refused> {
        let known = self.secrets.get(appid).ok_or((40013, "invalid appid"))?;
        if secret == known {
            return Ok(());
        }
        self.wrong_secrets += 1;
        Err((40125, "invalid appsecret"))
    }

    /// The Mini Program of an `access_token`.
    pub fn check_token(&mut self, token: Option<&str>) -> Result<String, Refused> {
        let token = token.ok_or((41001, "access_token missing"))?;
        let Some(appid) = Tokens::appid_of(token) else {
            self.tokens.refusals += 1;
            return Err((
                40001,
                "invalid credential, access_token is invalid or not latest",
            ));
        };
        if let Some(errcode) = self.tokens.refused.get(token) {
            self.tokens.refusals += 1;
            return Err((*errcode, "access_token is not valid"));
        }
        Ok(appid.to_owned())
    }
}

impl Users {
    pub fn get(&self, openid: &str) -> Option<&User> {
        self.by_openid.get(openid)
    }

    pub fn replace_key(&mut self, openid: &str, key: [u8; 16]) {
        if let Some(user) = self.by_openid.get_mut(openid) {
            user.key = key;
        }
    }

    /// The name of a user who has never logged in.
    pub fn new_name(&mut self) -> String {
        self.new += 1;
        format!("new-{}", self.new)
    }

    /// A user has logged in.
    pub fn insert(&mut self, openid: &str, user: User) {
        if self.by_openid.insert(openid.to_owned(), user).is_some() {
            return;
        }
        self.oldest_first.push_back(openid.to_owned());
        if self.oldest_first.len() > MAX_USERS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_openid.remove(&oldest);
        }
    }
}

impl Tokens {
    pub fn current(&self, appid: &str) -> String {
        let number = self.current.get(appid).unwrap_or(&1);
        format!("stable_{appid}_{number:06}_{}", "t0ken".repeat(16))
    }

    /// A token of the older `/cgi-bin/token`. Those before stay valid, as WeChat's do for five minutes.
    pub fn older(&mut self, appid: &str) -> String {
        self.older += 1;
        format!("older_{appid}_{:06}_{}", self.older, "t0ken".repeat(16))
    }

    fn appid_of(token: &str) -> Option<&str> {
        let token = token
            .strip_prefix("stable_")
            .or_else(|| token.strip_prefix("older_"))?;
        token.split('_').next()
    }
}

/// A query parameter that is given once.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("http://localhost/?{query}")).unwrap();
    let mut values = url.query_pairs().filter(|(key, _)| key == name);
    let (value, more) = (values.next(), values.next());
    value
        .filter(|_| more.is_none())
        .map(|(_, value)| value.into())
}
