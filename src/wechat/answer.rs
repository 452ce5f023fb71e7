//! Parses the answer of `jscode2session`: lenient where WeChat varies, strict about ids and keys.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::Deserialize;

use super::{Errcode, Error, Invalid, Refusal};
use crate::json::Object;

/// WeChat's key for a user's data, 16 bytes. It never leaves the server.
pub type SessionKey = Arc<SecretBox<[u8; 16]>>;

/// The user who logged in.
#[derive(Debug)]
pub struct CodeSession {
    /// The user in this Mini Program: 1 to 128 visible ASCII characters, compared case-sensitively.
    pub openid: String,
    /// The user in all apps of one Open Platform account, if the Mini Program is bound to one.
    pub unionid: Option<String>,
    /// The key of the user's encrypted and signed data.
    pub session_key: SessionKey,
}

/// The fields of an answer. Strings are owned: WeChat writes `/` as `\/`. Other fields, such as
/// the meaningless `expires_in`, are ignored.
#[derive(Deserialize)]
struct Answer {
    errcode: Option<Number>,
    errmsg: Option<String>,
    openid: Option<String>,
    unionid: Option<String>,
    session_key: Option<SecretString>,
}

/// An errcode comes as a number or, in an old official sample, as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

impl CodeSession {
    /// Reads the body of an answer with HTTP status 200.
    ///
    /// # Errors
    /// [`Error::Refused`] if WeChat refused, [`Error::Invalid`] if this is not the documented JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, Error> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body); // a gateway's byte order mark
        let Object(answer) =
            serde_json::from_slice::<Object<Answer>>(body).map_err(|_| Invalid::NotJson)?;
        match errcode(answer.errcode)? {
            0 => {}
            errcode => {
                let errmsg = answer.errmsg.unwrap_or_default();
                return Err(Error::Refused(Refusal::new(Errcode(errcode), &errmsg)));
            }
        }
        let unionid = answer.unionid.filter(|unionid| !unionid.is_empty());
        Ok(Self {
            openid: id("openid", answer.openid.unwrap_or_default())?,
            unionid: unionid.map(|unionid| id("unionid", unionid)).transpose()?,
            session_key: session_key(answer.session_key.as_ref())?,
        })
    }
}

/// Absent means 0: success.
fn errcode(number: Option<Number>) -> Result<i64, Invalid> {
    match number {
        None => Ok(0),
        Some(Number::Number(number)) => Ok(number),
        Some(Number::Text(text)) => text.trim().parse().map_err(|_| Invalid::Field("errcode")),
    }
}

/// Ids are sent on in JSON and in headers, so they must be valid in both.
fn id(field: &'static str, id: String) -> Result<String, Invalid> {
    let valid = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if valid {
        Ok(id)
    } else {
        Err(Invalid::Field(field))
    }
}

fn session_key(text: Option<&SecretString>) -> Result<SessionKey, Invalid> {
    let text = text.map_or("", ExposeSecret::expose_secret);
    let mut buffer = Zeroizing::new([0; 18]); // the most that 24 characters decode to
    match STANDARD.decode_slice(text, buffer.as_mut()) {
        Ok(16) => Ok(Arc::new(SecretBox::init_with_mut(|key: &mut [u8; 16]| {
            key.copy_from_slice(&buffer[..16]);
        }))),
        _ => Err(Invalid::Field("session_key")),
    }
}
