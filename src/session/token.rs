//! The session token: `wxs_` and 32 random bytes in base64url. Only its SHA-256 is stored, so that
//! whoever reads the store cannot log in with what they find.

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox};

const PREFIX: &str = "wxs_";

/// A token as its holder knows it. It does not print.
#[derive(Debug)]
pub struct Token(SecretBox<[u8; 32]>);

/// What the store knows of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl Token {
    /// A new token that nobody can guess.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut bytes = Box::new([0; 32]);
        rand::fill(bytes.as_mut())?;
        Ok(Self(SecretBox::new(bytes)))
    }

    /// Reads a token as its holder sends it; `None` if it cannot be one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(PREFIX)?;
        let mut buffer = Zeroizing::new([0; 33]); // what 44 characters can hold at most
        match URL_SAFE_NO_PAD.decode_slice(text, buffer.as_mut()) {
            Ok(32) => Some(Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| {
                bytes.copy_from_slice(&buffer[..32]);
            }))),
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

    /// What the store knows of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, self.0.expose_secret());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        TokenHash(hash)
    }
}
