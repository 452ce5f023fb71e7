//! Reads request bodies with a limit of size and time. `Content-Type` is ignored.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{FromRequest, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::Problem;

/// The largest request body that is accepted, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The longest time for a body to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A body that is the JSON object `T`.
pub(super) struct JsonBody<T>(pub(super) T);

/// An empty body, or `{}`.
pub(super) struct NoBody;

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read(request.into_body(), MAX_BODY).await?;
        Ok(Self(object(&body)?))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl<S: Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read(request.into_body(), MAX_BODY).await?;
        if !body.is_empty() {
            object::<Empty>(&body)?;
        }
        Ok(Self)
    }
}

/// A struct's fields can also be read from an array, which is refused.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(malformed("it is no object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let object = serde_path_to_error::deserialize(&mut json);
    // Names the field, and what belongs there.
    let object = object.map_err(|error| malformed(&error.to_string()))?;
    json.end().map_err(|error| malformed(&error.to_string()))?;
    Ok(object)
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
    match timeout(TIMEOUT, to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(Problem::BodyTooLarge),
        Ok(Err(_)) | Err(_) => Err(malformed("it is incomplete")),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}
