//! The codes that the stand-in has seen: the newest of them, so that its memory is bounded.

use std::collections::{HashMap, VecDeque};

use super::rules::{Outcome, Rules};

/// More than any test has.
const KEPT: usize = 20_000;

/// Codes of one kind: of `wx.login`, or of the phone number button.
#[derive(Default)]
pub struct Codes {
    by_code: HashMap<String, Seen>,
    oldest_first: VecDeque<String>,
    /// How many requests named a code.
    pub requests: usize,
}

#[derive(Default)]
pub struct Seen {
    /// The requests with this code, accepted or not.
    pub requests: usize,
    /// A refused exchange uses a code up too.
    pub is_used: bool,
    /// A user logged in with it.
    pub is_exchanged: bool,
    /// What a rule said when the code was seen first, if there was one: a repeated request gets the same.
    #[allow(clippy::option_option, reason = "not asked yet, asked without a rule")]
    ruled: Option<Option<Outcome>>,
}

impl Codes {
    /// Counts a request with this code.
    pub fn see(&mut self, code: &str) -> &mut Seen {
        self.requests += 1;
        if !self.by_code.contains_key(code) {
            if self.oldest_first.len() == KEPT
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.by_code.remove(&oldest);
            }
            self.oldest_first.push_back(code.to_owned());
        }
        let seen = self.by_code.entry(code.to_owned()).or_default();
        seen.requests += 1;
        seen
    }

    pub fn get(&self, code: &str) -> Option<&Seen> {
        self.by_code.get(code)
    }

    /// One that was seen just now.
    pub fn get_mut(&mut self, code: &str) -> &mut Seen {
        self.by_code.entry(code.to_owned()).or_default()
    }

    /// Those that users logged in with.
    pub fn exchanged(&self) -> impl Iterator<Item = &String> {
        let codes = self.oldest_first.iter();
        codes.filter(|code| self.by_code.get(*code).is_some_and(|it| it.is_exchanged))
    }
}

impl Seen {
    /// What the rule of a call says for this code.
    pub fn ruled_by(&mut self, rules: &mut Rules, call: &str) -> Option<Outcome> {
        self.ruled.get_or_insert_with(|| rules.take(call)).clone()
    }
}
