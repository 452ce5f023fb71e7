//! What WeChat signs or encrypts with a user's `session_key` on its way through the Mini Program.
//!
//! Source: WeChat's documentation of open data ("Signature verification, encryption and decryption").

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;

use super::transit;
use crate::json::{Object, escape_control_characters};

const BLOCK_LEN: usize = 16;

/// `encryptedData` with its `iv`: AES-128-CBC with PKCS#7 padding.
pub struct EncryptedData {
    blocks: Vec<u8>,
    iv: [u8; 16],
}

/// Whose data it must be, and when it may have been made.
pub struct Expected<'a> {
    /// The Mini Program.
    pub appid: &'a str,
    /// The user in it.
    pub openid: &'a str,
    /// The time, in seconds since the Unix epoch.
    pub now: u64,
    /// How far from now the data may have been made, in seconds, either way; `None` is any time.
    pub max_age: Option<u64>,
}

/// The fields of user data that are checked.
#[derive(Deserialize)]
struct Fields {
    watermark: Object<Watermark>,
    #[serde(rename = "openId")]
    openid: Option<String>,
}

#[derive(Deserialize)]
struct Watermark {
    appid: String,
    /// Unix seconds.
    timestamp: u64,
}

impl EncryptedData {
    /// Reads both from base64, whatever transit did to it. `None` if there is no way to read it, or if
    /// it is not whole blocks: no key has to be tried then.
    #[must_use]
    pub fn from_base64(encrypted_data: &str, iv: &str) -> Option<Self> {
        let is_whole = |len: usize| len > 0 && len.is_multiple_of(BLOCK_LEN);
        Some(Self {
            blocks: transit::base64(encrypted_data, is_whole)?,
            iv: transit::base64(iv, |len| len == BLOCK_LEN)?
                .try_into()
                .ok()?,
        })
    }

    /// The JSON object inside, as WeChat wrote it but for raw control characters, which it leaves in
    /// names; `None` if it does not decrypt with this key or is not what is expected.
    ///
    /// The padding proves nothing, as one wrong key in 256 fits it: the content decides. Bytes that are
    /// not UTF-8 are not replaced: whoever changes a block garbles the one before, and that would then
    /// pass nearly always as part of a name.
    #[must_use]
    pub fn decrypt(&self, session_key: &[u8; 16], expected: &Expected) -> Option<String> {
        let key = UnboundCipherKey::new(&AES_128, session_key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let iv = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let mut buffer = self.blocks.clone();
        // serde_json looks into no string that it skips, so UTF-8 comes first.
        let text = std::str::from_utf8(key.decrypt(&mut buffer, iv).ok()?).ok()?;
        let json = escape_control_characters(text);
        let Object(fields) = serde_json::from_str(&json).ok()?;
        expected.is_met_by(&fields).then_some(json)
    }
}

impl Expected<'_> {
    fn is_met_by(&self, fields: &Fields) -> bool {
        let Object(watermark) = &fields.watermark;
        let age = self.now.abs_diff(watermark.timestamp);
        watermark.appid == self.appid
            && fields
                .openid
                .as_deref()
                .is_none_or(|openid| openid == self.openid)
            && self.max_age.is_none_or(|max_age| age <= max_age)
    }
}

/// Whether `signature` is WeChat's of `raw_data`: SHA-1 over it, byte for byte as it was sent, and
/// the key's base64 text, in hex.
#[must_use]
pub fn is_signature(signature: &str, raw_data: &str, session_key: &[u8; 16]) -> bool {
    let key_text = Zeroizing::new(STANDARD.encode(session_key));
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(raw_data.as_bytes());
    context.update(key_text.as_bytes());
    let mut expected = [0; 40];
    for (hex, byte) in expected.chunks_exact_mut(2).zip(context.finish().as_ref()) {
        hex.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    verify_slices_are_equal(&expected, transit::hex(signature).as_bytes()).is_ok()
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}
