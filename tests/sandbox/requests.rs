//! The last requests on both sides: to wxlogin, and those to WeChat that they caused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Serialize;

use super::redaction;

/// The most requests that are kept on each side.
const KEPT: usize = 50;
/// As much of a body is kept, in bytes.
const MAX_BODY: usize = 8 * 1024;

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
    PublicListener,
    InternalListener,
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
    /// As it was sent, with secrets.
    #[serde(skip)]
    pub sent: Arc<Begin>,
    #[serde(skip)]
    begin: Instant,
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
    /// The openid of the user whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub duration_ms: u64,
    /// With secrets.
    #[serde(skip)]
    pub headers: HeaderMap,
    #[serde(skip)]
    pub body: Bytes,
}

/// What is known of a request when it begins.
pub struct Begin {
    pub to: To,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
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
    pub fn begin(&self, mut begin: Begin) -> Pending {
        begin.body = kept_of(&begin.body);
        let mut kept = self.lock();
        kept.last_id += 1;
        let (id, to) = (kept.last_id, begin.to);
        let for_request = match to {
            To::Wechat => kept.cause(begin.code.as_deref()),
            _ => None,
        };
        kept.push(Noted {
            id,
            to,
            for_request,
            at: SystemTime::now(),
            request: format!("{} {}", begin.method, redaction::path(&begin.path)),
            login_code: begin.code.as_deref().map(redaction::code),
            answer: None,
            sent: Arc::new(begin),
            begin: Instant::now(),
        });
        Pending {
            requests: self.clone(),
            id,
            to,
            is_answered: false,
        }
    }

    /// Those to wxlogin, and those to WeChat: the newest first.
    pub fn newest_first(&self) -> [Vec<Noted>; 2] {
        let kept = self.lock();
        [0, 1].map(|side| kept.by_side[side].iter().rev().cloned().collect())
    }

    /// A request, and those to WeChat that it caused, the oldest first.
    pub fn with_caused(&self, id: u64) -> Option<(Noted, Vec<Noted>)> {
        let kept = self.lock();
        let mut all = kept.by_side.iter().flatten();
        let request = all.find(|request| request.id == id)?.clone();
        let caused = kept.by_side[1].iter();
        let caused = caused.filter(|request| request.for_request == Some(id));
        Some((request, caused.cloned().collect()))
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
            to_wxlogin().find(|request| request.sent.code.as_deref() == Some(code))
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
    pub fn answered(mut self, mut answer: Answer) {
        self.is_answered = true;
        answer.body = kept_of(&answer.body);
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

/// The beginning of a body, in memory of its own.
fn kept_of(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&body[..body.len().min(MAX_BODY)])
}

pub fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}
