//! Seals `session_key`s for the store: whoever has the store alone cannot decrypt user data.
//!
//! A seal is a version byte, a nonce of 12 bytes, and the 16 bytes of the key under AES-256-GCM, with
//! its tag of 16 bytes. (appid, openid) is authenticated with it, so that a seal moved to another user
//! does not open. All keys come from the AppSecret by HKDF-SHA256: there is none to manage, and with
//! the AppSecret gone, what it sealed counts as absent.

use std::collections::HashMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};

use super::UserId;

const VERSION: u8 = 1;
const KEY_LEN: usize = 16;
pub(super) const SEAL_LEN: usize = 1 + NONCE_LEN + KEY_LEN + 16;

/// What seals and opens the `session_key`s of each Mini Program.
pub struct Seals {
    by_appid: HashMap<String, Vec<Sealer>>,
}

/// A `session_key` as it is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal([u8; SEAL_LEN]);

/// The keys that come from one AppSecret.
struct Sealer {
    aead: LessSafeKey,
    nonce: hmac::Key,
}

impl Seals {
    /// For Mini Programs by appid, each with its AppSecrets: the first seals, all open.
    ///
    /// # Errors
    /// If the cryptography library refuses the keys, which it has no reason to.
    pub fn new<'a>(
        apps: impl IntoIterator<Item = (&'a str, &'a [SecretString])>,
    ) -> Result<Self, Unspecified> {
        let mut by_appid = HashMap::new();
        for (appid, secrets) in apps {
            let sealers: Result<_, _> = secrets.iter().map(Sealer::new).collect();
            by_appid.insert(appid.to_owned(), sealers?);
        }
        Ok(Self { by_appid })
    }

    /// The key of a user, sealed; first as it is to be stored, then as the other AppSecrets seal it.
    pub(super) fn seal(
        &self,
        user: &UserId,
        session_key: &SecretBox<[u8; KEY_LEN]>,
    ) -> Result<Vec<Seal>, Unspecified> {
        let name = name(user);
        let sealers = self.by_appid.get(&user.appid).ok_or(Unspecified)?;
        sealers
            .iter()
            .map(|sealer| sealer.seal(&name, session_key))
            .collect()
    }

    /// The key in what was read from the store; `None` if none of the AppSecrets opens it.
    pub(super) fn open(&self, user: &UserId, stored: &[u8]) -> Option<SecretBox<[u8; KEY_LEN]>> {
        let name = name(user);
        let sealers = self.by_appid.get(&user.appid)?;
        sealers.iter().find_map(|sealer| sealer.open(&name, stored))
    }
}

impl Seal {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A user's name as it is authenticated. NUL is in no id.
fn name(user: &UserId) -> Vec<u8> {
    [user.appid.as_bytes(), user.openid.as_bytes()].join(&0)
}

impl Sealer {
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

    /// The nonce is made from what is sealed: the same key of the same user becomes the same seal, so
    /// that a store can tell without opening it, and others meet in a nonce only by chance in 2^48.
    fn seal(
        &self,
        name: &[u8],
        session_key: &SecretBox<[u8; KEY_LEN]>,
    ) -> Result<Seal, Unspecified> {
        let mut context = hmac::Context::with_key(&self.nonce);
        context.update(session_key.expose_secret());
        context.update(name);
        let mac = context.sign();

        let mut seal = [0; SEAL_LEN];
        let (version, rest) = seal.split_at_mut(1);
        let (nonce, rest) = rest.split_at_mut(NONCE_LEN);
        let (key, tag) = rest.split_at_mut(KEY_LEN);
        version[0] = VERSION;
        nonce.copy_from_slice(&mac.as_ref()[..NONCE_LEN]);
        key.copy_from_slice(session_key.expose_secret());
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let made = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(name), key)?;
        tag.copy_from_slice(made.as_ref());
        Ok(Seal(seal))
    }

    fn open(&self, name: &[u8], stored: &[u8]) -> Option<SecretBox<[u8; KEY_LEN]>> {
        let stored: &[u8; SEAL_LEN] = stored.try_into().ok()?;
        let (&[VERSION], rest) = stored.split_first_chunk()? else {
            return None;
        };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut buffer = Zeroizing::new([0; SEAL_LEN - 1 - NONCE_LEN]);
        buffer.copy_from_slice(sealed);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self
            .aead
            .open_in_place(nonce, Aad::from(name), buffer.as_mut())
            .ok()?;
        let key: &[u8; KEY_LEN] = (&*key).try_into().ok()?;
        Some(SecretBox::init_with_mut(|kept: &mut [u8; KEY_LEN]| {
            kept.copy_from_slice(key);
        }))
    }
}
