//! Parses the JSON object that all of WeChat's answers are, with an errcode if the call was refused.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Call, Errcode, Error, Invalid, Refusal};

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

/// Parses the body of an answer with HTTP status 200. Other fields than those of `T` are ignored.
///
/// [`Error::Refused`] if it has an errcode other than 0.
pub(super) fn parse<T: DeserializeOwned>(call: Call, body: &[u8]) -> Result<T, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body); // a gateway's byte order mark
    let status: ErrcodeAndErrmsg = object(body)?;
    match errcode(status.errcode)? {
        None | Some(0) => Ok(object(body)?),
        Some(errcode) => {
            let errmsg = status.errmsg.unwrap_or_default();
            let refusal = Refusal::new(call, Errcode(errcode), &errmsg);
            Err(Error::Refused(refusal))
        }
    }
}

/// A struct's fields can also be read from an array, which WeChat does not send.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Invalid> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Invalid::NotJson);
    }
    serde_json::from_slice(body).map_err(|_| Invalid::NotJson)
}

fn errcode(number: Option<Number>) -> Result<Option<i64>, Invalid> {
    match number {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Invalid::Field("errcode")),
        },
    }
}

/// Checks that a text is visible ASCII: ids and tokens are sent on in JSON, headers and URLs.
pub(super) fn check_visible(
    field: &'static str,
    text: &str,
    max_len: usize,
) -> Result<(), Invalid> {
    let is_valid =
        (1..=max_len).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if is_valid {
        Ok(())
    } else {
        Err(Invalid::Field(field))
    }
}
