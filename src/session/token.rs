//! The session token: `wxs_` and 32 bytes in base64url. Eight bytes say where to look: five of time and three
//! random ones, as in a `UUIDv7`. The other 24 are the verifier, random and secret; a store holds only a SHA-256
//! over it, so that whoever reads the store cannot log in with what they find.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};

use super::{Result, Session, Unavailable};
use crate::sha256;

const PREFIX: &str = "wxs_";
/// Bytes of time: a token made at another time has another id.
const TIME_LEN: usize = 5;
const ID_LEN: usize = 8;
/// 2020-01-01 in Unix seconds: times since then keep an id positive until 2088.
const EPOCH: Duration = Duration::from_secs(1_577_836_800);

/// A token as its holder sends it. `Debug` does not show it.
#[derive(Debug)]
pub struct Token(SecretBox<[u8; 32]>);

impl Token {
    /// A new token that nobody can guess, made at `now`, the time since the Unix epoch.
    ///
    /// # Errors
    /// If the system has no randomness.
    #[doc(hidden)]
    pub fn generate(now: Duration) -> Result<Self> {
        let mut bytes = Box::new([0; 32]);
        let filled = rand::fill(bytes.as_mut());
        filled.map_err(|_| Unavailable("no random bytes for a token".into()))?;
        bytes[..TIME_LEN].copy_from_slice(&Self::first_id(now).to_be_bytes()[..TIME_LEN]);
        Ok(Self(SecretBox::new(bytes)))
    }

    /// Reads a token as its holder sends it; `None` if it cannot be one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(PREFIX)?;
        let mut bytes = SecretBox::new(Box::new([0; 32]));
        match URL_SAFE_NO_PAD.decode_slice(text, bytes.expose_secret_mut()) {
            Ok(32) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The text for its holder: 47 characters.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(47);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.0.expose_secret(), &mut text);
        text
    }

    /// The number of its session and its row. Ids are nearly in the order of logins.
    #[must_use]
    pub fn id(&self) -> i64 {
        let id = self.0.expose_secret().first_chunk().copied();
        i64::from_be_bytes(id.unwrap_or_default())
    }

    /// The smallest id of a token made at `now`, in 1/256 s: seconds would scatter the rows of a commit.
    pub(super) fn first_id(now: Duration) -> i64 {
        let ticks = now.saturating_sub(EPOCH).as_nanos() * 256 / 1_000_000_000;
        i64::try_from(ticks << 24).unwrap_or(i64::MAX)
    }

    /// SHA-256 of the whole token.
    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(&[self.0.expose_secret()])
    }

    /// SHA-256 over the verifier and the session's user and expiry: what a store keeps of the token. A row with
    /// another identity, as after a fault of the disk, does not match it.
    pub(super) fn seal(&self, session: &Session) -> [u8; 32] {
        sha256(&[
            &self.0.expose_secret()[ID_LEN..],
            session.appid.as_bytes(),
            b"\0", // in none of them
            session.openid.as_bytes(),
            b"\0",
            session.unionid.as_deref().unwrap_or_default().as_bytes(),
            b"\0",
            &session.expires.to_be_bytes(),
        ])
    }
}
