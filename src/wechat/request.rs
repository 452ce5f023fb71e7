//! A request to WeChat, before a host is chosen.

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use secrecy::zeroize::Zeroizing;

/// Initial capacity for a query, so that it does not leave copies of secrets in freed memory as it grows. That of
/// an exchange has some 160 bytes.
const QUERY_CAPACITY: usize = 256;

/// A request, for any host. It holds secrets.
pub(super) struct Request {
    method: Method,
    path: &'static str,
    query: Zeroizing<String>,
    json: Option<Vec<u8>>,
}

impl Request {
    pub(super) fn get(path: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Zeroizing::new(String::with_capacity(QUERY_CAPACITY)),
            json: None,
        }
    }

    /// With a JSON body, which is sent with its `Content-Length`: WeChat refuses chunks.
    pub(super) fn post(path: &'static str, json: &serde_json::Value) -> Self {
        Self {
            method: Method::POST,
            json: Some(json.to_string().into_bytes()),
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
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        if let Some(json) = &self.json {
            let content_type = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, content_type);
            *request.body_mut() = Some(json.clone().into());
        }
        request
    }
}
