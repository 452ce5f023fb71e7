//! The last requests on both sides: to wxlogin, and those to WeChat that they caused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use serde::Serialize;

/// The most requests that are kept on each side.
const KEPT: usize = 50;

#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    last_id: u64,
    by_side: [VecDeque<Noted>; 2],
}

/// The server that a request was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    PublicDoor,
    InternalDoor,
    Wechat,
}

/// A request and its response.
#[derive(Clone, Serialize)]
pub struct Noted {
    pub id: u64,
    pub to: To,
    /// For a request to WeChat: the request to wxlogin that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_request: Option<u64>,
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// Method and path.
    pub request: String,
    /// The code in it, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_code: Option<String>,
    /// The response; absent while it is awaited.
    #[serde(flatten)]
    pub answer: Option<Answer>,
    #[serde(skip)]
    begin: Instant,
    /// The code, to match requests on both sides.
    #[serde(skip)]
    raw_code: Option<String>,
}

#[derive(Clone, Default, Serialize)]
pub struct Answer {
    /// The HTTP status; absent if the client closed the connection first.
    pub status: Option<u16>,
    /// For wxlogin: `ok`, or the `code` of the problem document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errcode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    pub duration_ms: u64,
}

/// What is known of a request when it begins.
pub struct Begin {
    pub to: To,
    pub request: String,
    pub code: Option<String>,
}

/// A request that is not answered yet. If it is dropped first, its client has closed the connection.
pub struct Pending {
    requests: Requests,
    id: u64,
    to: To,
    is_answered: bool,
}

impl Requests {
    pub fn begin(&self, begin: Begin) -> Pending {
        let mut kept = self.lock();
        kept.last_id += 1;
        let id = kept.last_id;
        let for_request = match begin.to {
            To::Wechat => kept.cause(begin.code.as_deref()),
            _ => None,
        };
        kept.push(Noted {
            id,
            to: begin.to,
            for_request,
            at: SystemTime::now(),
            request: begin.request,
            login_code: begin.code.as_deref().map(super::redaction::code),
            answer: None,
            begin: Instant::now(),
            raw_code: begin.code,
        });
        Pending {
            requests: self.clone(),
            id,
            to: begin.to,
            is_answered: false,
        }
    }

    /// Those to wxlogin, and those to WeChat: the newest first.
    pub fn newest_first(&self) -> [Vec<Noted>; 2] {
        let kept = self.lock();
        [0, 1].map(|side| kept.by_side[side].iter().rev().cloned().collect())
    }

    pub fn clear(&self) {
        self.lock().by_side.iter_mut().for_each(VecDeque::clear);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}

impl Kept {
    /// The newest request with the same code; without one, the newest that waits for its answer.
    fn cause(&self, code: Option<&str>) -> Option<u64> {
        let to_wxlogin = || self.by_side[0].iter().rev();
        let same_code = code.and_then(|code| {
            to_wxlogin().find(|request| request.raw_code.as_deref() == Some(code))
        });
        let cause = same_code.or_else(|| match code {
            Some(_) => None, // another program's
            None => to_wxlogin().find(|request| request.answer.is_none()),
        });
        cause.map(|request| request.id)
    }

    fn push(&mut self, request: Noted) {
        let side = &mut self.by_side[side(request.to)];
        if side.len() == KEPT {
            side.pop_front();
        }
        side.push_back(request);
    }
}

impl Pending {
    pub fn answered(mut self, answer: Answer) {
        self.is_answered = true;
        self.complete(answer);
    }

    fn complete(&self, answer: Answer) {
        let mut kept = self.requests.lock();
        let side = &mut kept.by_side[side(self.to)];
        // Absent after a reset.
        if let Some(request) = side.iter_mut().find(|request| request.id == self.id) {
            let duration = request.begin.elapsed().as_millis();
            request.answer = Some(Answer {
                duration_ms: u64::try_from(duration).unwrap_or(u64::MAX),
                ..answer
            });
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_answered {
            self.complete(Answer::default());
        }
    }
}

fn side(to: To) -> usize {
    usize::from(to == To::Wechat)
}

pub fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}
