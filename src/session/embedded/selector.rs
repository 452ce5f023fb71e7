//! The selector in a token: the row of its session, masked.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

use crate::session::OpenError;
use crate::session::token::{TokenHash, TokenId};

/// Masks row numbers in tokens, because they tell how many sessions there are.
#[derive(Clone, Copy)]
pub(super) struct Mask(pub(super) [u8; 32]);

impl Mask {
    pub(super) fn generate() -> Result<Self, OpenError> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| OpenError::Other("there are no random bytes".into()))?;
        Ok(Self(key))
    }

    /// The selector of the token with this hash, whose session is in this row.
    pub(super) fn selector(&self, row: i64, token: TokenHash) -> [u8; 8] {
        (row.cast_unsigned() ^ self.pad(token)).to_be_bytes()
    }

    /// The row that a token names. It may be any, if the token is not one of ours.
    pub(super) fn row(&self, id: TokenId) -> i64 {
        (u64::from_be_bytes(id.selector) ^ self.pad(id.hash)).cast_signed()
    }

    fn pad(&self, token: TokenHash) -> u64 {
        let digest = digest(&SHA256, [self.0, token.0].as_flattened());
        let mut pad = [0; 8];
        pad.copy_from_slice(&digest.as_ref()[..8]);
        u64::from_be_bytes(pad)
    }
}
