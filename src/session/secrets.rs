//! The secrets of a session, and what a store holds in their place, so that whoever reads it can neither log in nor
//! decrypt a user's data: a hash of the token, and the `session_key` encrypted.
//!
//! The token is `wxs_` and 32 bytes in base64url. Eight bytes say where to look: five of time and three random ones,
//! as in a `UUIDv7`. The other 24 are the verifier, random and secret.
//!
//! An encrypted key is a version byte, a nonce of 12 bytes, and the 16 bytes of the key under AES-256-GCM with its tag
//! of 16 bytes. (appid, openid) is the associated data, so that a key copied to another user does not decrypt. The AES
//! keys are derived from the AppSecret by HKDF-SHA256: there is no key to manage, and what was encrypted with an
//! AppSecret that is gone counts as absent.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};

use super::{Result, Session, Unavailable, UserId};

const PREFIX: &str = "wxs_";
/// Bytes of time: a token made at another time has another id.
const TIME_LEN: usize = 5;
const ID_LEN: usize = 8;
/// 2020-01-01 in Unix seconds: times since then keep an id positive until 2088.
const EPOCH: Duration = Duration::from_secs(1_577_836_800);
/// The first byte of an encrypted key.
const VERSION: u8 = 1;
const KEY_LEN: usize = 16;
pub(super) const ENCRYPTED_KEY_LEN: usize = 1 + NONCE_LEN + KEY_LEN + 16;

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

/// WeChat's key for a user's data, 16 bytes. It never leaves the server.
pub type SessionKey = SecretBox<[u8; KEY_LEN]>;

/// Encrypts and decrypts the `session_key`s of each Mini Program.
pub struct Encryption {
    by_appid: HashMap<String, Vec<KeyCipher>>,
}

/// A `session_key` as it is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct EncryptedKey(pub(super) [u8; ENCRYPTED_KEY_LEN]);

/// The keys derived from one AppSecret.
struct KeyCipher {
    aead: LessSafeKey,
    nonce: hmac::Key,
}

impl Encryption {
    /// For Mini Programs by appid, each with its AppSecrets: the first encrypts, all decrypt.
    ///
    /// # Errors
    /// If the cryptography library refuses the keys, which it has no reason to.
    pub fn new<'a>(
        apps: impl IntoIterator<Item = (&'a str, &'a [SecretString])>,
    ) -> Result<Self, Unspecified> {
        let mut by_appid = HashMap::new();
        for (appid, secrets) in apps {
            let ciphers: Result<_, _> = secrets.iter().map(KeyCipher::new).collect();
            by_appid.insert(appid.to_owned(), ciphers?);
        }
        Ok(Self { by_appid })
    }

    /// The key of a user as it is to be stored.
    pub(super) fn encrypt(
        &self,
        user: UserId<'_>,
        session_key: &SessionKey,
    ) -> Result<EncryptedKey, Unspecified> {
        let ciphers = self.by_appid.get(user.appid);
        let first = ciphers.and_then(|ciphers| ciphers.first());
        (first.ok_or(Unspecified)?).encrypt(&user.to_bytes(), session_key)
    }

    /// The key in what was read from the store; `None` if it is encrypted with none of the AppSecrets.
    pub(super) fn decrypt(&self, user: UserId<'_>, stored: &EncryptedKey) -> Option<SessionKey> {
        let data = user.to_bytes();
        let ciphers = self.by_appid.get(user.appid)?;
        ciphers
            .iter()
            .find_map(|cipher| cipher.decrypt(&data, stored))
    }
}

impl KeyCipher {
    fn new(secret: &SecretString) -> Result<Self, Unspecified> {
        let secret = secret.expose_secret().as_bytes();
        let root = Salt::new(HKDF_SHA256, b"wxlogin").extract(secret);
        let aead = root.expand(&[b"seal session_key 1: key"], &AES_256_GCM)?;
        let nonce = root.expand(&[b"seal session_key 1: nonce"], hmac::HMAC_SHA256)?;
        Ok(Self {
            aead: LessSafeKey::new(UnboundKey::from(aead)),
            nonce: nonce.into(),
        })
    }

    /// The nonce is an HMAC of what is encrypted: the same key of the same user becomes the same bytes,
    /// so that a store can compare keys without decrypting them. Two different keys have the same nonce
    /// only by chance (birthday bound 2^48).
    fn encrypt(&self, data: &[u8], session_key: &SessionKey) -> Result<EncryptedKey, Unspecified> {
        let mut context = hmac::Context::with_key(&self.nonce);
        context.update(session_key.expose_secret());
        context.update(data);
        let mac = context.sign();

        let mut encrypted = [VERSION; ENCRYPTED_KEY_LEN];
        let (nonce, rest) = encrypted[1..].split_at_mut(NONCE_LEN);
        let (key, tag) = rest.split_at_mut(KEY_LEN);
        nonce.copy_from_slice(&mac.as_ref()[..NONCE_LEN]);
        key.copy_from_slice(session_key.expose_secret());
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let made = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(data), key)?;
        tag.copy_from_slice(made.as_ref());
        Ok(EncryptedKey(encrypted))
    }

    fn decrypt(&self, data: &[u8], stored: &EncryptedKey) -> Option<SessionKey> {
        let (&[VERSION], rest) = stored.0.split_first_chunk()? else {
            return None;
        };
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (ciphertext, tag) = rest.split_at(KEY_LEN);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut key = SecretBox::new(Box::new([0; KEY_LEN]));
        let opened = self.aead.open_separate_gather(
            nonce,
            Aad::from(data),
            ciphertext,
            tag,
            key.expose_secret_mut(),
        );
        opened.ok().map(|()| key)
    }
}

/// SHA-256 of all parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
