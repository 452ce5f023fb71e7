//! A request to WeChat, before a host is chosen.

use hyper::body::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::zeroize::Zeroizing;
use tokio::time::Instant;

/// Initial capacity for a query, so that it does not leave copies of secrets in freed memory as it grows. That of
/// an exchange has some 160 bytes.
const QUERY_CAPACITY: usize = 256;

/// A request, for any host. It holds secrets.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Zeroizing<String>,
    pub(super) headers: HeaderMap,
    /// Sent with its `Content-Length`: WeChat refuses chunks.
    pub(super) body: Option<Bytes>,
    /// For the last byte of the answer, if whoever reads it has none.
    pub(super) deadline: Option<Instant>,
}

impl<'a> Request<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Zeroizing::new(String::with_capacity(QUERY_CAPACITY)),
            headers: HeaderMap::new(),
            body: None,
            deadline: None,
        }
    }

    pub(super) fn post(path: &'a str, json: &serde_json::Value) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self {
            method: Method::POST,
            headers: [(CONTENT_TYPE, content_type)].into_iter().collect(),
            body: Some(json.to_string().into()),
            ..Self::get(path)
        }
    }

    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        let mut query = form_urlencoded::Serializer::new(std::mem::take(&mut *self.query));
        query.append_pair(name, value);
        *self.query = query.finish();
        self
    }

    pub(super) fn to(&self, api_base: &Url) -> reqwest::Request {
        let mut url = api_base.clone();
        let path = format!("{}{}", api_base.path().trim_end_matches('/'), self.path);
        url.set_path(&path);
        url.set_query(
            Some(&self.query)
                .filter(|query| !query.is_empty())
                .map(|query| query.as_str()),
        );
        let mut request = reqwest::Request::new(self.method.clone(), url);
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        *request.body_mut() = self.body.clone().map(Into::into);
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        *request.timeout_mut() = self.deadline.map(left);
        request
    }
}
