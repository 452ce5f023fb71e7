//! Parses the JSON object that all of WeChat's answers are, with an errcode if the call was refused.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Call, Error, Invalid, Refusal};

#[derive(Deserialize)]
struct ErrcodeAndErrmsg {
    errcode: Option<Number>,
    errmsg: Option<String>,
}

/// A number, which some of WeChat's samples write as a string.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

impl Number {
    fn parse(self) -> Result<i64, Invalid> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text.trim().parse().map_err(|_| Invalid::Field("errcode")),
        }
    }
}

/// Parses the body of an answer with HTTP status 200. Other fields than those of `T` are ignored.
///
/// [`Error::Refused`] if it has an errcode other than 0.
pub(super) fn parse<T: DeserializeOwned>(call: Call, body: &[u8]) -> Result<T, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body); // a gateway's byte order mark
    let status: ErrcodeAndErrmsg = object(body)?;
    let errcode = status.errcode.map_or(Ok(0), Number::parse)?;
    if errcode == 0 {
        return Ok(object(body)?);
    }
    let errmsg = status.errmsg.unwrap_or_default();
    Err(Error::Refused(Refusal::new(call, errcode, &errmsg)))
}

/// A struct's fields can also be read from an array, which WeChat does not send.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Invalid> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Invalid::NotJson);
    }
    serde_json::from_slice(body).map_err(|_| Invalid::NotJson)
}

/// Checks that a text is visible ASCII: ids and tokens are sent on in JSON, headers and URLs.
pub(super) fn check_visible(
    field: &'static str,
    text: &str,
    max_len: usize,
) -> Result<(), Invalid> {
    let fits = (1..=max_len).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(()).ok_or(Invalid::Field(field))
}
