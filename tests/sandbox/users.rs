//! Users of the stand-in: ids, keys and data, derived from a name or a code.

use std::fmt::Write;

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::APPID;

/// The openid of a scripted user.
pub fn openid(name: &str) -> String {
    openid_in(APPID, name)
}

/// The same in another Mini Program: another openid.
pub fn openid_in(appid: &str, name: &str) -> String {
    match appid {
        APPID => id("openid", name),
        _ => id("openid", &format!("{appid} {name}")),
    }
}

/// The `session_key` of a code: each code has another.
pub fn session_key(code: &str) -> [u8; 16] {
    hash("session_key", code)[..16].try_into().unwrap()
}

/// A name as it stands in a code: letters, digits, - and _ as they are, any other name in hex after a ~.
pub fn name_in_code(name: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.bytes().all(is_plain) {
        name.to_owned()
    } else {
        format!("~{}", hex(name.as_bytes()))
    }
}

/// The name in a code.
pub fn name_of(in_code: &str) -> String {
    let digits = in_code.strip_prefix('~').unwrap_or_default().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| in_code.to_owned())
}

/// A user's phone number, without the country code: 11 digits, as in China.
pub fn phone_number(openid: &str) -> String {
    let digits = hash("phone number", openid).map(|byte| char::from(b'0' + byte % 10));
    format!("13{}", digits[..9].iter().collect::<String>())
}

/// Like WeChat's: 28 characters, the first an `o`.
pub fn id(kind: &str, name: &str) -> String {
    format!("o{}", &URL_SAFE_NO_PAD.encode(hash(kind, name))[..27])
}

pub fn hash(kind: &str, name: &str) -> [u8; 32] {
    let digest = digest(&SHA256, format!("{kind} {name}").as_bytes());
    digest.as_ref().try_into().unwrap()
}

/// A user's data as `wx.getUserInfo` and others encrypt it: `encryptedData` and `iv`.
pub fn encrypt(session_key: &[u8; 16], json: impl AsRef<[u8]>) -> (String, String) {
    let json = json.as_ref();
    let iv = digest(&SHA256, json).as_ref()[..16].try_into();
    let iv: [u8; 16] = iv.unwrap();
    let key = UnboundCipherKey::new(&AES_128, session_key).unwrap();
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap();
    let mut data = json.to_vec();
    key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .unwrap();
    (STANDARD.encode(data), STANDARD.encode(iv))
}

/// A user's data as WeChat signs it.
pub fn sign(session_key: &[u8; 16], raw_data: &str) -> String {
    let signed = format!("{raw_data}{}", STANDARD.encode(session_key));
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, signed.as_bytes());
    hex(digest.as_ref())
}

/// A signature by `session_key` as WeChat asks for it.
pub fn hmac_sign(session_key: &[u8; 16], data: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, STANDARD.encode(session_key).as_bytes());
    hex(hmac::sign(&key, data.as_bytes()).as_ref())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The JSON inside, made at a time in Unix seconds.
pub fn user_info(appid: &str, openid: &str, timestamp: u64) -> String {
    format!(
        r#"{{"openId":"{openid}","nickName":"带 Band","watermark":{{"timestamp":{timestamp},"appid":"{appid}"}}}}"#
    )
}
