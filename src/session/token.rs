//! The session token: `wxs_` and 32 bytes in base64url, split into a selector of 8 bytes and a verifier of
//! 24. The verifier is random and secret; the store holds only its SHA-256, so that whoever reads the
//! store cannot log in with what they find. The selector names the row in the embedded store, masked; with Redis
//! it is random and unused.

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};

const PREFIX: &str = "wxs_";
/// The part of a token that is not secret.
const SELECTOR_LEN: usize = 8;

/// A token as its holder sends it. `Debug` does not show it.
#[derive(Debug)]
pub struct Token(SecretBox<[u8; 32]>);

/// Identifies the session of a token without revealing the token.
#[derive(Debug, Clone, Copy)]
pub struct TokenId {
    /// Where the session is; only the store that made it can read it.
    pub(super) selector: [u8; SELECTOR_LEN],
    pub(super) hash: TokenHash,
}

/// The SHA-256 of a token's verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenHash(pub(super) [u8; 32]);

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

    /// Identifies its session.
    #[must_use]
    pub fn id(&self) -> TokenId {
        let (selector, verifier) = self.0.expose_secret().split_at(SELECTOR_LEN);
        let mut id = TokenId {
            selector: [0; SELECTOR_LEN],
            hash: TokenHash([0; 32]),
        };
        id.selector.copy_from_slice(selector);
        let digest = digest::digest(&digest::SHA256, verifier);
        id.hash.0.copy_from_slice(digest.as_ref());
        id
    }

    /// The same verifier with the selector that the store made.
    pub(super) fn with_selector(mut self, selector: [u8; SELECTOR_LEN]) -> Self {
        self.0.expose_secret_mut()[..SELECTOR_LEN].copy_from_slice(&selector);
        self
    }
}
