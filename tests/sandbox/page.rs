//! The page: one document in English or Chinese, rendered here, with its style and its script inside.

mod codes;
mod commands;
mod controls;
mod html;
mod live;
mod requests;
mod texts;
mod users;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::detail;
use super::fake_wechat::{APPID, SECRET, parameter};
use super::settings::INTERNAL_TOKEN;
use super::state::{Addresses, Sandbox};
use live::Live;
use texts::Texts;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = concat!(
    include_str!("page/morph.js"),
    include_str!("page/script.js")
);

pub fn router() -> Router<Sandbox> {
    Router::new()
        .route("/", get(whole))
        .route("/live", get(live))
        .route("/live/requests/{id}", get(request))
}

async fn whole(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let texts = Texts::wanted(query.as_deref(), &headers);
    let live = live::render(&sandbox, texts).await;
    let page = document(&sandbox, texts, &live);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_SECURITY_POLICY, &policy),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(page)).into_response()
}

/// The part of the page that the script refreshes.
async fn live(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let texts = Texts::wanted(query.as_deref(), &headers);
    let live = live::render(&sandbox, texts).await;
    let parts = [live.rules, live.notices, live.users, live.requests];
    ([(CACHE_CONTROL, "no-store")], Html(parts.concat())).into_response()
}

/// A request that is opened.
async fn request(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let texts = Texts::wanted(query.as_deref(), &headers);
    let with_secrets = detail::wants_secrets(query.as_deref());
    let (status, html) = match detail::of(&sandbox, id, with_secrets) {
        Some(detail) => (StatusCode::OK, requests::open(&detail, with_secrets, texts)),
        None => (StatusCode::NOT_FOUND, format!("<p>{}</p>", texts.gone)),
    };
    (status, [(CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

fn document(sandbox: &Sandbox, texts: &Texts, live: &Live) -> String {
    let addresses = sandbox.addresses;
    let Live {
        rules,
        notices,
        users,
        requests,
    } = live;
    let log_in = controls::log_in(texts);
    let next = controls::next(rules, texts);
    let programs = programs(addresses, texts);
    let reset = html::button(texts.reset, "POST /sandbox/reset", "");
    let Texts {
        lang,
        title,
        subtitle,
        other_language,
        other_lang,
        result_title,
        result_hint,
        copied,
        ended,
        no_script,
        users_title,
        requests_title,
        filter,
        what_happened,
        controls,
        copy,
        ..
    } = texts;
    format!(
        r#"<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<div><h1>{title}</h1><p>{subtitle}</p></div>
<p class="row">{reset} <a href="?lang={other_lang}" hreflang="{other_lang}" lang="{other_lang}">{other_language}</a></p>
</header>
<p id="ended" class="banner" role="alert" hidden>{ended}</p>
<noscript><p class="banner">{no_script}</p></noscript>
<div class="columns">
<aside class="controls" aria-label="{controls}">
<div class="in-sight">{log_in}
{next}</div>
<section class="result" aria-labelledby="result-title">
<h2 id="result-title">{result_title}</h2>
<p id="pressed" class="hint"></p>
<pre id="result" role="status" tabindex="0" aria-labelledby="result-title" data-empty="{result_hint}"></pre>
<div id="copies" class="buttons small" data-label="{copy}"></div>
<p id="copied" class="hint" role="status" data-label="{copied}"></p>
</section>
<section class="programs">{programs}</section>
</aside>
<main aria-label="{what_happened}">
{notices}
<section aria-labelledby="users-title"><h2 id="users-title">{users_title}</h2>{users}</section>
<section aria-labelledby="requests-title"><div class="row between"><h2 id="requests-title">{requests_title}</h2>
<label>{filter} <input id="filter" type="search" autocomplete="off" spellcheck="false"></label></div>{requests}</section>
</main>
</div>
<script>{SCRIPT}</script>
</body>
</html>
"#
    )
}

/// For other programs: addresses, settings, `curl` lines.
fn programs(addresses: Addresses, texts: &Texts) -> String {
    let (public, internal, page) = (addresses.public, addresses.internal, addresses.page);
    let commands = commands::render(addresses, texts);
    let Texts {
        service,
        internal_listener,
        stand_in,
        other_programs,
        other_programs_hint,
        ..
    } = texts;
    format!(
        r#"<details><summary>{other_programs}</summary>
<dl class="addresses">
<dt>{service}</dt><dd><code>http://{public}</code></dd>
<dt>{internal_listener}</dt><dd><code>http://{internal}</code></dd>
<dt>{stand_in}</dt><dd><code>http://{page}</code></dd>
</dl>
<p class="hint">{other_programs_hint}</p>
<pre>WECHAT_APPID={APPID}
WECHAT_SECRET={SECRET}
WECHAT_API_BASE=http://{page}</pre>
<pre>INTERNAL_TOKEN={INTERNAL_TOKEN}</pre></details>
{commands}"#
    )
}

impl Texts {
    /// `?lang=en` or `?lang=zh-CN`, else by the browser's `Accept-Language`.
    fn wanted(query: Option<&str>, headers: &HeaderMap) -> &'static Self {
        let asked = parameter(query.unwrap_or_default(), "lang");
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
        let lang = asked.as_deref().or(accepted).unwrap_or_default();
        if lang.to_ascii_lowercase().starts_with("zh") {
            &texts::CHINESE
        } else {
            &texts::ENGLISH
        }
    }
}

/// As a Content-Security-Policy names what is inside of an element.
fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}
