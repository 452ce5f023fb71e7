//! Where a session is, and how a token tells it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;

use crate::session::token::{TokenHash, TokenId};

/// Where a session is: a slot, counted from 1, in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct Position {
    pub(super) segment: u32,
    pub(super) slot: u32,
}

/// Hides positions in tokens, because they tell how many sessions there are.
#[derive(Clone, Copy)]
pub(super) struct Mask(pub(super) [u8; 32]);

impl Mask {
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let mut key = [0; 32];
        rand::fill(&mut key)?;
        Ok(Self(key))
    }

    /// The position as the token with this hash tells it.
    pub(super) fn hide(&self, position: Position, token: TokenHash) -> [u8; 8] {
        let place = u64::from(position.segment) << 32 | u64::from(position.slot);
        (place ^ self.pad(token)).to_be_bytes()
    }

    /// The position that a token tells. It may be anywhere, whoever made that token.
    #[expect(clippy::cast_possible_truncation, reason = "each half is a u32")]
    pub(super) fn position(&self, id: TokenId) -> Position {
        let place = u64::from_be_bytes(id.selector) ^ self.pad(id.hash);
        Position {
            segment: (place >> 32) as u32,
            slot: place as u32,
        }
    }

    fn pad(&self, token: TokenHash) -> u64 {
        let digest = digest(&SHA256, [self.0, token.0].as_flattened());
        let mut pad = [0; 8];
        pad.copy_from_slice(&digest.as_ref()[..8]);
        u64::from_be_bytes(pad)
    }
}
