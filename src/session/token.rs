//! The session token: `wxs_` and 32 bytes in base64url. The last 24 are random, the secret; the store
//! knows only their SHA-256, so that whoever reads the store cannot log in with what they find. The
//! first 8 tell a store in this process where the session is, and nobody else anything.

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};

const PREFIX: &str = "wxs_";
/// What of a token is not secret.
const PLACE_LEN: usize = 8;

/// A token as its holder knows it. It does not print.
#[derive(Debug)]
pub struct Token(SecretBox<[u8; 32]>);

/// Names the session of a token, without telling the token.
#[derive(Debug, Clone, Copy)]
pub struct TokenId {
    /// Where the session is; only the store that wrote it can read it.
    pub(super) place: [u8; PLACE_LEN],
    pub(super) hash: TokenHash,
}

/// The SHA-256 of a token's secret.
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

    /// What names its session.
    #[must_use]
    pub fn id(&self) -> TokenId {
        let (place, secret) = self.0.expose_secret().split_at(PLACE_LEN);
        let mut id = TokenId {
            place: [0; PLACE_LEN],
            hash: TokenHash([0; 32]),
        };
        id.place.copy_from_slice(place);
        let digest = digest::digest(&digest::SHA256, secret);
        id.hash.0.copy_from_slice(digest.as_ref());
        id
    }

    /// The same secret, with word of where its session is.
    pub(super) fn at(mut self, place: [u8; PLACE_LEN]) -> Self {
        self.0.expose_secret_mut()[..PLACE_LEN].copy_from_slice(&place);
        self
    }
}
