//! What happens next: rules for the next requests to WeChat, wxlogin's clock, the pause after errcode 45009.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::super::fake_wechat::{Rule, name_in_code, parameter};
use super::super::state::Sandbox;
use super::{Given, Refused, bad, is_name, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Seconds.
    forward: u64,
}

pub async fn set(
    State(sandbox): State<Sandbox>,
    given: Given<Rule>,
) -> Result<StatusCode, Refused> {
    let mut rule = read(given)?;
    if let Some(script) = &mut rule.script
        && let Some((kind @ ("user" | "guest"), name)) = script.split_once('-')
        && is_name(name)
    {
        *script = format!("{kind}-{}", name_in_code(name));
    }
    if let Some(problem) = rule.problem() {
        return Err(bad(problem));
    }
    sandbox.wechat.set_rule(rule);
    Ok(StatusCode::NO_CONTENT)
}

/// The rule of the call that the query names, or all rules.
pub async fn remove(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> StatusCode {
    let call = query.and_then(|query| parameter(&query, "call"));
    sandbox.wechat.remove_rules(call.as_deref());
    StatusCode::NO_CONTENT
}

pub async fn forward(
    State(sandbox): State<Sandbox>,
    given: Given<Forward>,
) -> Result<Response, Refused> {
    let Forward { forward } = read(given)?;
    Ok(moved(&sandbox, forward).await)
}

/// Lets wxlogin's clock reach the end of the pause.
pub async fn end_quota_pause(State(sandbox): State<Sandbox>) -> Response {
    // Its seconds begin at other moments than those of the page.
    let rest = sandbox.quota_pause().await.map_or(0, |rest| rest + 1);
    let answer = moved(&sandbox, rest).await;
    sandbox.note_quota(None).await;
    answer
}

/// Sets wxlogin's clock forward by so many seconds.
pub async fn moved(sandbox: &Sandbox, seconds: u64) -> Response {
    let clock = sandbox.clock().await;
    clock.forward(seconds);
    Json(json!({"clock_ahead": clock.ahead()})).into_response()
}
