//! Data that WeChat signs or encrypts with a user's `session_key`, and that the Mini Program sends on.
//!
//! Source: WeChat's documentation of open data ("Signature verification, encryption and decryption").

use std::fmt::Write;

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use percent_encoding::percent_decode_str;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::{Map, Value};

const BLOCK_LEN: usize = 16;

/// `encryptedData` with its `iv`: AES-128-CBC with PKCS#7 padding.
pub struct EncryptedData {
    blocks: Vec<u8>,
    iv: [u8; 16],
}

/// The user that the data must be of, and how old it may be.
pub struct Expected<'a> {
    /// The Mini Program.
    pub appid: &'a str,
    /// The user in it.
    pub openid: &'a str,
    /// The time, in seconds since the Unix epoch.
    pub now: u64,
    /// The largest difference between `now` and the data's timestamp, in seconds; `None` is no limit.
    pub max_age: Option<u64>,
}

/// The fields of user data that are checked.
#[derive(Deserialize)]
struct Fields {
    /// `appid`, and `timestamp` in Unix seconds. A map: an array of both is refused.
    watermark: Map<String, Value>,
    #[serde(rename = "openId")]
    openid: Option<String>,
}

impl EncryptedData {
    /// Decodes both leniently from base64. `None` if they cannot be decoded, or are not whole blocks: then no
    /// key is tried.
    #[must_use]
    pub fn from_base64(encrypted_data: &str, iv: &str) -> Option<Self> {
        let is_whole = |len: usize| len > 0 && len.is_multiple_of(BLOCK_LEN);
        Some(Self {
            blocks: base64(encrypted_data, is_whole)?,
            iv: base64(iv, |len| len == BLOCK_LEN)?.try_into().ok()?,
        })
    }

    /// The JSON object inside, as WeChat wrote it, with raw control characters in names escaped, or why it is not
    /// what is expected; `None` if it does not decrypt with this key.
    ///
    /// The padding proves nothing: it is valid with one wrong key in 256. So the content is checked. Bytes
    /// that are not UTF-8 are refused and not replaced: a changed block garbles the one before, which would
    /// then nearly always pass as part of a name.
    #[must_use]
    pub fn decrypt(
        &self,
        session_key: &[u8; 16],
        expected: &Expected,
    ) -> Option<Result<String, &'static str>> {
        let key = UnboundCipherKey::new(&AES_128, session_key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let iv = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let mut buffer = self.blocks.clone();
        // Checked first: serde_json does not check the UTF-8 of strings that it skips.
        let text = std::str::from_utf8(key.decrypt(&mut buffer, iv).ok()?).ok()?;
        let json = escape_control_characters(text);
        if !json.trim_start().starts_with('{') {
            return None; // an array can have the fields too
        }
        let fields: Fields = serde_json::from_str(&json).ok()?;
        Some(expected.check(&fields).map(|()| json))
    }
}

impl Expected<'_> {
    fn check(&self, fields: &Fields) -> Result<(), &'static str> {
        let watermark = &fields.watermark;
        let is_of = |openid: &String| openid == self.openid;
        if watermark.get("appid").and_then(Value::as_str) != Some(self.appid) {
            return Err("it is of another Mini Program");
        }
        if !fields.openid.as_ref().is_none_or(is_of) {
            return Err("it is of another user");
        }
        let timestamp = watermark.get("timestamp").and_then(Value::as_u64);
        let age = self.now.abs_diff(timestamp.ok_or("it has no timestamp")?);
        if self.max_age.is_some_and(|max_age| age > max_age) {
            return Err("it is older than USERDATA_MAX_AGE, or this clock is wrong");
        }
        Ok(())
    }
}

/// The `signature` of `sig_method=hmac_sha256`: HMAC-SHA256 over the bytes of `data`, keyed with the base64
/// text of the `session_key`, in lower-case hex.
#[must_use]
pub fn hmac_signature(data: &str, session_key: &[u8; 16]) -> String {
    let key_text = Zeroizing::new(STANDARD.encode(session_key));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key_text.as_bytes());
    hex(hmac::sign(&key, data.as_bytes()).as_ref())
}

/// Whether `signature` is WeChat's of `raw_data`: SHA-1 over it, byte for byte as it was sent, and
/// the key's base64 text, in hex.
#[must_use]
pub fn is_signature(signature: &str, raw_data: &str, session_key: &[u8; 16]) -> bool {
    let key_text = Zeroizing::new(STANDARD.encode(session_key));
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(raw_data.as_bytes());
    context.update(key_text.as_bytes());
    let expected = hex(context.finish().as_ref());
    let signature = without_wrapping(signature).unwrap_or_default();
    let signature = signature.trim_matches(' ').to_ascii_lowercase();
    verify_slices_are_equal(expected.as_bytes(), signature.as_bytes()).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Escapes raw control characters in strings, which WeChat leaves in names and serde refuses.
fn escape_control_characters(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    let (mut in_string, mut after_backslash) = (false, false);
    for c in json.chars() {
        if in_string && !after_backslash && c < ' ' {
            // Writing to a string does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
        in_string ^= c == '"' && !after_backslash;
        after_backslash = in_string && c == '\\' && !after_backslash;
    }
    escaped
}

/// Decodes base64. A space was a `+`, or was added: the first reading whose number of bytes `is_length` accepts.
fn base64(text: &str, is_length: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
    let text = without_wrapping(text)?;
    let (inner, outer) = (text.trim_matches(' '), &*text);
    let read = |text: &str, space| {
        let text = text.replace(' ', space);
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
        bytes.ok().filter(|bytes| is_length(bytes.len()))
    };
    let reading = read(outer, "+").or_else(|| read(inner, "+"));
    reading.or_else(|| read(inner, ""))
}

/// Undoes what a client, a proxy or a template did to base64 or hex, each once: percent-encoding, JSON escapes, quotes,
/// line breaks and the URL-safe alphabet. The text itself can hold none of these. Spaces stay.
fn without_wrapping(text: &str) -> Option<String> {
    let mut text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
    if text.contains('\\') {
        text = text.trim().replace(char::is_control, "");
        if !text.starts_with('"') {
            text = format!("\"{text}\"");
        }
        text = serde_json::from_str(&text).ok()?;
    }
    let is_kept =
        |c: &char| *c == ' ' || !(c.is_whitespace() || matches!(c, '"' | '\'' | '\u{feff}'));
    let standard = |c| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    Some(text.chars().filter(is_kept).map(standard).collect())
}
