//! The one-time code that `wx.login` gives the Mini Program.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

/// WeChat's samples are 32 characters; the length is not documented.
const MAX_LEN: usize = 256;
/// What `wx.login` gives in DevTools for a project without a real appid.
const MOCK: &str = "the code is a mock one";
/// What JavaScript writes into a URL for a value that is not a code.
const NO_VALUE: [&str; 5] = ["undefined", "null", "NaN", "true", "false"];

/// A code that can be sent to WeChat: 1 to 256 visible ASCII characters, without the quotes and brackets of
/// JSON, templates and placeholders. It is a secret: it can be used to log in.
#[derive(Debug, Clone)]
pub struct JsCode(SecretString);

/// Why a text is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsCodeError {
    /// Not what [`JsCode`] describes.
    #[error("not 1 to 256 visible ASCII characters, or with quotes or brackets")]
    Malformed,
    /// DevTools gives it to a project without an appid.
    #[error("the mock code of DevTools")]
    Mock,
}

impl JsCode {
    /// Checks that a text can be a code.
    ///
    /// # Errors
    /// [`JsCodeError`]: WeChat need not be asked.
    pub fn parse(text: &str) -> Result<Self, JsCodeError> {
        if text == MOCK {
            return Err(JsCodeError::Mock);
        }
        // A client that encodes twice sends a quote as %22: the decoded text is checked as well.
        let decoded = Cow::<[u8]>::from(percent_decode_str(text));
        if text.len() <= MAX_LEN && is_code(text.as_bytes()) && is_code(&decoded) {
            Ok(Self(text.into()))
        } else {
            Err(JsCodeError::Malformed)
        }
    }

    /// A code that WeChat has never issued, for `wxlogin check`.
    #[must_use]
    pub fn dummy() -> Self {
        Self("wxlogin-check".into())
    }

    /// Whether it looks like a code of the phone number button: 64 lower-case hex characters.
    #[must_use]
    pub fn looks_like_a_phone_code(&self) -> bool {
        let code = self.expose();
        code.len() == 64 && code.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// SHA-256 of the appid and the code.
    #[must_use]
    pub fn hash(&self, appid: &str) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        for part in [appid, "\0", self.expose()] {
            context.update(part.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

fn is_code(text: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() && !b"\"'`{}<>\\".contains(byte);
    !text.is_empty()
        && text.iter().all(is_allowed)
        && !NO_VALUE.iter().any(|word| word.as_bytes() == text)
}
