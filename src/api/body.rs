//! Reads request bodies with a limit of size and time. `Content-Type` is ignored.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::Problem;

/// The largest request body that is accepted, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The longest time for a body to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A body that is the JSON object `T`. An empty one is taken as `{}`.
pub(super) struct JsonBody<T>(pub(super) T);

/// Empty, or `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoFields {}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read(request.into_body(), MAX_BODY).await?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        // A struct's fields can also be read from an array, which is refused.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(malformed("it is no object"));
        }
        let object = Json::from_bytes(body).map(|Json(object)| Self(object));
        // The source names the field, and what belongs there.
        object.map_err(|error| malformed(&error.source().unwrap_or(&error).to_string()))
    }
}

fn malformed(wrong: &str) -> Problem {
    /// In characters: the name of an unknown field can be long.
    const MAX_TOLD: usize = 200;
    Problem::MalformedBody(wrong.chars().take(MAX_TOLD).collect())
}

pub(super) async fn read(body: Body, max: usize) -> Result<Bytes, Problem> {
    // The announced `Content-Length`: nothing has to be read to refuse it.
    if body.size_hint().lower() > max as u64 {
        return Err(Problem::BodyTooLarge);
    }
    match timeout(TIMEOUT, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::BodyTooLarge),
        Ok(Err(_)) | Err(_) => Err(malformed("it is incomplete")),
    }
}
