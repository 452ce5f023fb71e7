//! `GET` and `POST /wechat/{appid}/{path…}`: WeChat's server API with the `access_token` attached.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::body;
use super::layer::RequestId;
use super::problem::Problem;
use crate::app::WxLogin;
use crate::wechat::{PassedCall, may_be_sent};

/// The largest body that is sent on, in bytes.
const MAX_BODY: usize = 10_000_000;

/// No HEAD: it would be a GET at WeChat.
pub(super) fn get_route() -> MethodRouter<WxLogin> {
    let others = async || ([(ALLOW, "GET,POST")], Problem::MethodNotAllowed);
    get(pass).head(others).fallback(others)
}

pub(super) fn post_route() -> MethodRouter<WxLogin> {
    post(pass)
}

async fn pass(
    State(wxlogin): State<WxLogin>,
    Extension(paths): Extension<Arc<[String]>>,
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
            "The query must not name an access_token or from_appid, and ' must be %27 in it.",
        ));
    }
    let wechat = &wxlogin.0.wechat;
    let slot = wechat.passed_slot().await.map_err(Problem::PassedCall)?;
    let body = match head.method {
        Method::POST => body::read(body, MAX_BODY).await?,
        _ => Bytes::new(),
    };
    let head = &head;
    let call = PassedCall { path, head, body };
    let result = wechat.pass_through(mini_program, &call, slot).await;
    let (status, refusal) = match &result {
        Ok(answer) => (Some(answer.status.as_u16()), answer.refusal.as_ref()),
        Err(error) => (None, error.refusal()),
    };
    let errcode = refusal.map(|refusal| refusal.errcode.0);
    let rid = refusal.and_then(|refusal| refusal.rid.as_ref());
    let rid = rid.map(tracing::field::display);
    let request_id = RequestId::of(&head.headers);
    let request_id = request_id.as_str();
    tracing::info!(
        request_id,
        appid,
        path,
        status,
        errcode,
        rid,
        "call passed through"
    );
    let answer = result.map_err(Problem::PassedCall)?;
    Ok((
        answer.status,
        answer.headers,
        Body::from_stream(answer.body),
    )
        .into_response())
}
