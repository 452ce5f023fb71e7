//! The state of the stand-in.

use std::collections::{HashMap, HashSet};

use super::reply::Refused;
use super::{APPID, OTHER_APPID, OTHER_SECRET, SECRET};

pub struct Model {
    /// By appid.
    pub secrets: HashMap<String, String>,
    /// An errcode for every request.
    pub refuses: Option<i64>,
    /// Answers that a test wrote, by code.
    pub scripted: HashMap<String, String>,
    /// Codes of logins in the order of the requests, and phone codes in theirs.
    pub asked: Vec<String>,
    pub phone_asked: Vec<String>,
    /// Codes of both kinds that are used up: a refused exchange uses a code up too.
    pub used: HashSet<String>,
    /// Codes that a user logged in with.
    pub exchanged: Vec<String>,
    /// The newest `session_key` by openid.
    pub keys: HashMap<String, [u8; 16]>,
    pub wrong_secrets: usize,
    pub tokens: Tokens,
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
            refuses: None,
            scripted: HashMap::new(),
            asked: Vec::new(),
            phone_asked: Vec::new(),
            used: HashSet::new(),
            exchanged: Vec::new(),
            keys: HashMap::new(),
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

/// The script of a code: without the suffix that makes the code unique.
pub fn script(code: &str) -> &str {
    code.split_once('.').map_or(code, |(script, _)| script)
}

/// Whether WeChat answers "busy" for this code, by the number of requests with it.
pub fn is_busy(code: &str, asked: &[String]) -> bool {
    let script = script(code);
    let times = script.strip_prefix("busy-").map(str::parse::<usize>);
    let asked = asked.iter().filter(|asked| *asked == code).count();
    match script {
        "error--1" => true,
        // Each exchange asks twice.
        "busy-used" => asked % 2 == 1,
        _ => times.is_some_and(|times| times.is_ok_and(|times| asked <= times)),
    }
}
