//! `GET` and `POST /wechat/{appid}/{path…}`: WeChat's server API with the `access_token` attached.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::body;
use super::layer::RequestId;
use crate::app::WxLogin;
use crate::problem::{Problem, Purpose};
use crate::wechat::{Error, SLOT_TIMEOUT, may_be_sent};

/// The largest body that is sent on, in bytes.
const MAX_BODY: usize = 10_000_000;

/// The paths that may be called, and the slots for calls.
pub(super) type Calls = (Arc<[String]>, Arc<Semaphore>);

/// No HEAD: it would be a GET at WeChat.
pub(super) fn get_route() -> MethodRouter<WxLogin> {
    let others = async || ([(ALLOW, "GET,POST")], Problem::MethodNotAllowed);
    get(pass).head(others).fallback(others)
}

pub(super) async fn pass(
    State(wxlogin): State<WxLogin>,
    Extension((paths, slots)): Extension<Calls>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let raw = head.uri.path();
    let raw = raw.strip_prefix("/wechat/").unwrap_or_default();
    let (appid, path) = raw.split_at(raw.find('/').unwrap_or(raw.len()));
    let mini_program = wxlogin.mini_program(appid);
    let mini_program = mini_program.ok_or(Problem::UnknownAppInPath)?;
    let path = paths.iter().find(|listed| *listed == path);
    let path = path.ok_or(Problem::PathNotAllowed)?;
    if !may_be_sent(head.uri.query().unwrap_or_default()) {
        return Err(Problem::MalformedQuery(
            "The query must not name an access_token or from_appid, nor encode a name, and ' must be %27 in it.",
        ));
    }
    // From the first byte of the body to the last one of the answer.
    let slot = timeout(SLOT_TIMEOUT, slots.acquire_owned()).await;
    let slot = slot.map_err(|_| failed(Error::Overloaded))?;
    let body = match head.method {
        Method::POST => body::read(body, MAX_BODY).await?,
        _ => Bytes::new(),
    };
    let wechat = &wxlogin.0.wechat;
    let result = wechat.pass_through(mini_program, path, &head, body).await;
    let status = result.as_ref().ok().map(|it| it.status.as_u16());
    let error = match &result {
        Ok(answer) => answer.refusal.as_ref(),
        Err(error) => Some(error),
    };
    wxlogin.0.metrics.called_wechat(path, appid, error);
    let refusal = error.and_then(Error::refusal);
    tracing::info!(
        request_id = RequestId::of(&head.headers).as_str(),
        appid,
        path,
        status,
        errcode = refusal.map(|it| it.errcode),
        rid = refusal
            .and_then(|it| it.rid.as_ref())
            .map(tracing::field::display),
        "call passed through"
    );
    let answer = result.map_err(failed)?;
    let body = Body::from_stream(answer.body.map(move |part| (part, &slot).0));
    Ok((answer.status, answer.headers, body).into_response())
}

fn failed(error: Error) -> Problem {
    Problem::Wechat(error, Purpose::PassedCall)
}
