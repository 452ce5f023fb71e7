//! Rules for the next requests of a call, which the sandbox's page and tests set.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::{Reply, text};
use super::script::Script;

/// The names of calls in rules. Any other call is named by its path.
pub const LOGIN: &str = "login";
pub const PHONE_NUMBER: &str = "phone_number";
pub const ACCESS_TOKEN: &str = "access_token";
pub const SESSION_KEY: &str = "session_key";
/// Every request of every call, also with a code that has a script of its own.
pub const ALL: &str = "all";

/// What the next requests of a call get.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default = "login")]
    pub call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// This JSON instead of a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// For how many codes, or requests of a call without codes: the next one if absent, all if null.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// From 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
}

/// What a rule says for a request.
#[derive(Debug, Clone)]
pub enum Outcome {
    Script(Script),
    Answer(String),
}

/// By the name of the call.
#[derive(Default)]
pub struct Rules(BTreeMap<String, Rule>);

impl Rule {
    /// An errcode for every request.
    pub fn refuses_all(errcode: i64) -> Self {
        Self {
            call: ALL.to_owned(),
            script: Some(format!("error-{errcode}")),
            answer: None,
            times: None,
            probability: 1.0,
        }
    }

    /// What is wrong with it, as a sentence.
    pub fn problem(&self) -> Option<&'static str> {
        let is_call = [LOGIN, PHONE_NUMBER, ACCESS_TOKEN, SESSION_KEY, ALL].contains(&&*self.call);
        if !is_call && !self.call.starts_with('/') {
            return Some(
                "call must be login, phone_number, access_token, session_key, all, or a path of WeChat's.",
            );
        }
        if self.times == Some(0) || !(0.0..=1.0).contains(&self.probability) {
            return Some("times must be 1 or more, or null; probability must be from 0 to 1.");
        }
        let script = match (&self.script, &self.answer) {
            (None, Some(_)) => return None,
            (Some(script), None) => Script::parse(script),
            _ => return Some("A rule has either a script or an answer."),
        };
        match script {
            Some(Script::User(_) | Script::Guest(_) | Script::NewUser) if self.call == LOGIN => {
                None
            }
            Some(Script::User(_) | Script::Guest(_) | Script::NewUser | Script::Phone(_)) => {
                Some("Only the call login has users.")
            }
            Some(Script::Busy(_) | Script::BusyUsed) => {
                Some("For a busy WeChat use error--1, with times.")
            }
            Some(Script::Error(0)) | None => {
                Some("This is not a script, such as user-bob, hang or error-45011.")
            }
            Some(_) => None,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let script = self.script.as_deref().and_then(Script::parse);
        let answer = self.answer.as_ref().map(Value::to_string);
        script.map(Outcome::Script).or(answer.map(Outcome::Answer))
    }
}

impl Rules {
    pub fn set(&mut self, rule: Rule) {
        self.0.insert(rule.call.clone(), rule);
    }

    /// Of one call, or all rules.
    pub fn remove(&mut self, call: Option<&str>) {
        self.0
            .retain(|name, _| call.is_some_and(|call| call != name));
    }

    pub fn list(&self) -> Vec<Rule> {
        self.0.values().cloned().collect()
    }

    /// What the rule of this call says for one more request.
    pub fn take(&mut self, call: &str) -> Option<Outcome> {
        let rule = self.0.get_mut(call)?;
        if fastrand::f64() >= rule.probability {
            return None;
        }
        let outcome = rule.outcome();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(call);
            }
        }
        outcome
    }

    /// The reply to a request of a call without codes: `usual`, or what a rule says instead.
    pub fn reply(&mut self, call: &str, incomplete: &str, usual: Response) -> Reply {
        let outcome = self.take(call).or_else(|| self.take(ALL));
        match outcome {
            None => Reply::Now(usual),
            Some(outcome) => outcome.instead_of(usual, incomplete),
        }
    }
}

impl Outcome {
    pub fn instead_of(self, usual: Response, incomplete: &str) -> Reply {
        match self {
            Self::Answer(body) => Reply::Now(text(body)),
            Self::Script(Script::Slow(delay)) => Reply::After(delay, usual),
            Self::Script(Script::Incomplete) => Reply::Now(text(incomplete.to_owned())),
            Self::Script(script) => script.failure().unwrap_or(Reply::Now(usual)),
        }
    }
}

fn login() -> String {
    LOGIN.to_owned()
}

#[allow(clippy::unnecessary_wraps, reason = "the type of the field")]
fn once() -> Option<u32> {
    Some(1)
}

fn always() -> f64 {
    1.0
}
