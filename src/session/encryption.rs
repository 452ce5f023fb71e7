//! Encrypts `session_key`s for the store: whoever has the store alone cannot decrypt user data.
//!
//! An encrypted key is a version byte, a nonce of 12 bytes, and the 16 bytes of the key under
//! AES-256-GCM with its tag of 16 bytes. (appid, openid) is the associated data, so that a key copied to
//! another user does not decrypt. The AES keys are derived from the AppSecret by HKDF-SHA256: there is
//! no key to manage, and what was encrypted with an AppSecret that is gone counts as absent.

use std::collections::HashMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};

use super::UserId;

const VERSION: u8 = 1;
const KEY_LEN: usize = 16;
pub(super) const ENCRYPTED_KEY_LEN: usize = 1 + NONCE_LEN + KEY_LEN + 16;

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
