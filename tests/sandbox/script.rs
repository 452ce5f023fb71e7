//! Scripts: what WeChat does with a request, as a code or a rule says it.

use std::time::Duration;

use super::reply::{Reply, html_502, refusal, text};
use super::users::name_of;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// This user logs in, with a unionid.
    User(String),
    /// The same without a unionid.
    Guest(String),
    /// A user who has never logged in.
    NewUser,
    /// A phone code of this user.
    Phone(String),
    /// Errcode -1 so many times, then success.
    Busy(usize),
    /// Errcode -1, then 40163.
    BusyUsed,
    /// Success after a while.
    Slow(Duration),
    Error(i64),
    Hang,
    Garbage,
    Empty,
    Html502,
    /// A good answer without what matters in it: `session_key`, the phone number, the `access_token`.
    Incomplete,
}

impl Script {
    /// The script of a code: all before the first dot, so that `user-alice.2` is another code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::parse(code.split_once('.').map_or(code, |(script, _)| script))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let script = match text.split_once('-').unwrap_or((text, "")) {
            ("user", name) if !name.is_empty() => Self::User(name_of(name)),
            ("guest", name) if !name.is_empty() => Self::Guest(name_of(name)),
            ("new", "user") => Self::NewUser,
            ("phone", name) if !name.is_empty() => Self::Phone(name_of(name)),
            ("busy", "used") => Self::BusyUsed,
            ("busy", times) => Self::Busy(times.parse().ok()?),
            ("slow", millis) => Self::Slow(Duration::from_millis(millis.parse().ok()?)),
            ("error", errcode) => Self::Error(errcode.parse().ok()?),
            ("hang", "") => Self::Hang,
            ("garbage", "") => Self::Garbage,
            ("empty", "") => Self::Empty,
            ("html", "502") => Self::Html502,
            ("incomplete", "") => Self::Incomplete,
            _ => return None,
        };
        Some(script)
    }

    /// The reply of a script that fails in the same way for every call and each time.
    pub fn failure(&self) -> Option<Reply> {
        Some(Reply::Now(match self {
            Self::Error(errcode) => refusal(*errcode),
            Self::Hang => return Some(Reply::Never),
            Self::Garbage => text("}{ this is not JSON".into()),
            Self::Empty => text(String::new()),
            Self::Html502 => html_502(),
            _ => return None,
        }))
    }

    /// Whether WeChat is busy at this request: the number of requests with the code, this one included.
    pub fn is_busy(&self, asked: usize) -> bool {
        match self {
            Self::Busy(times) => asked <= *times,
            // Each exchange asks twice.
            Self::BusyUsed => asked % 2 == 1,
            _ => false,
        }
    }
}
