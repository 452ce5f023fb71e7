//! The selector in a token: the masked id of its session.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

use crate::session::OpenError;
use crate::session::token::{TokenHash, TokenId};

/// Masks ids, which would show how many sessions there are.
#[derive(Clone, Copy)]
pub(super) struct SelectorKey(pub(super) [u8; 32]);

impl SelectorKey {
    pub(super) fn generate() -> Result<Self, OpenError> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| OpenError::Other("there are no random bytes".into()))?;
        Ok(Self(key))
    }

    /// The selector for the token with this hash.
    pub(super) fn selector(&self, id: i64, token: TokenHash) -> [u8; 8] {
        (id.cast_unsigned() ^ self.keystream(token)).to_be_bytes()
    }

    /// The id that a token's selector names: an arbitrary one if the token is forged.
    pub(super) fn id(&self, token: TokenId) -> i64 {
        (u64::from_be_bytes(token.selector) ^ self.keystream(token.hash)).cast_signed()
    }

    fn keystream(&self, token: TokenHash) -> u64 {
        let digest = digest(&SHA256, [self.0, token.0].as_flattened());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.as_ref()[..8]);
        u64::from_be_bytes(bytes)
    }
}
