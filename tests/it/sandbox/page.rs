//! The page: one document in English or Chinese, rendered here, with its style and its script inside.

mod codes;
mod commands;
mod controls;
mod html;
mod live;
mod texts;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fake_wechat::{APPID, SECRET, parameter};
use super::service::INTERNAL_TOKEN;
use super::state::Sandbox;
use texts::Texts;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

pub fn router() -> Router<Sandbox> {
    Router::new()
        .route("/", get(whole))
        .route("/live", get(live))
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
    ([(CACHE_CONTROL, "no-store")], Html(live)).into_response()
}

fn document(sandbox: &Sandbox, texts: &Texts, live: &str) -> String {
    let addresses = sandbox.addresses;
    let (public, internal, page) = (addresses.public, addresses.internal, addresses.page);
    let [login, failures] = controls::render(texts);
    let reset = html::button(texts.reset, "POST /sandbox/reset", "");
    let commands = commands::render(addresses, texts);
    let Texts {
        lang,
        title,
        subtitle,
        other_language,
        other_lang,
        service,
        internal_door,
        stand_in,
        other_programs,
        other_programs_hint,
        ended,
        no_script,
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
<nav>{reset} <a href="?lang={other_lang}" hreflang="{other_lang}">{other_language}</a></nav>
</header>
<p id="ended" class="banner" hidden>{ended}</p>
<noscript><p class="banner">{no_script}</p></noscript>
<div class="columns">
<aside class="first-column">{login}</aside>
<main id="live">{live}</main>
<aside class="rest-column">
{failures}
<section>
<dl class="addresses">
<dt>{service}</dt><dd><code>http://{public}</code></dd>
<dt>{internal_door}</dt><dd><code>http://{internal}</code></dd>
<dt>{stand_in}</dt><dd><code>http://{page}</code></dd>
</dl>
<details><summary>{other_programs}</summary>
<p class="hint">{other_programs_hint}</p>
<pre>WECHAT_APPID={APPID}
WECHAT_SECRET={SECRET}
WECHAT_API_BASE=http://{page}</pre>
<pre>INTERNAL_TOKEN={INTERNAL_TOKEN}</pre></details>
{commands}
</section>
</aside>
</div>
<script>{SCRIPT}</script>
</body>
</html>
"#
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
