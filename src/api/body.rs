//! Reads the JSON of a POST: whatever its `Content-Type`, but whole, small and soon.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::app::App;
use crate::json::Object;

/// The largest request body that is taken.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A body that is the JSON of a `T`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let body = tokio::time::timeout(TIMEOUT, Bytes::from_request(request, app)).await;
        let body = body.map_err(|_| Problem::MalformedBody)?;
        let body = body.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                Problem::BodyTooLarge
            }
            _ => Problem::MalformedBody,
        })?;
        let Object(body) = serde_json::from_slice(&body).map_err(|_| Problem::MalformedBody)?;
        Ok(Self(body))
    }
}
