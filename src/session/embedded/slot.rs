//! A session as bytes: a slot of 512, one sector, so that a crash tears none.
//!
//! Two bytes change in place; a checksum is over the rest. A slot of zeros was never written.

use aws_lc_rs::digest::{SHA256, digest};

use super::{ExchangeHash, Record, Session, TokenHash, User, UserId};
use crate::session::encryption::ENCRYPTED_KEY_LEN;

pub(super) const SLOT_LEN: usize = 512;
/// The longest id that a setting or WeChat may bring.
const MAX_ID: usize = 128;
/// Of an exchange's hash: enough that no two are the same.
const EXCHANGE_LEN: usize = 24;

// Where each part begins.
const CHECKSUM: usize = 0;
/// 1 once the session was ended.
pub(super) const IS_ENDED: usize = 4;
/// How often user data failed to open since this login.
pub(super) const FAILURES: usize = 5;
const CHECKED: usize = 6;
/// The lengths of appid, openid and unionid.
const LENGTHS: usize = CHECKED;
const TOKEN: usize = LENGTHS + 3;
const CREATED: usize = TOKEN + 32;
const EXPIRES: usize = CREATED + 8;
/// Zeros without an exchange, as is the seal.
const EXCHANGE: usize = EXPIRES + 8;
const SEAL: usize = EXCHANGE + EXCHANGE_LEN;
const APPID: usize = SEAL + ENCRYPTED_KEY_LEN;
const OPENID: usize = APPID + MAX_ID;
const UNIONID: usize = OPENID + MAX_ID;
const _: () = assert!(UNIONID + MAX_ID <= SLOT_LEN);

/// A session that was written once, with what came with it.
pub(super) struct Slot(Box<[u8; SLOT_LEN]>);

/// An id is longer than a slot has room for.
pub(super) struct TooLong;

/// Not a slot as it was written.
pub(super) struct Damaged;

impl Slot {
    pub(super) fn new(record: &Record<'_>) -> Result<Self, TooLong> {
        let session = record.session;
        let mut bytes = Box::new([0; SLOT_LEN]);
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        let unionid = session.unionid.as_deref().unwrap_or_default();
        let ids = [
            (APPID, &*session.user.appid),
            (OPENID, &*session.user.openid),
            (UNIONID, unionid),
        ];
        for ((at, id), length_at) in ids.into_iter().zip(LENGTHS..) {
            let length = u8::try_from(id.len()).map_err(|_| TooLong)?;
            if id.len() > MAX_ID {
                return Err(TooLong);
            }
            put(length_at, &[length]);
            put(at, id.as_bytes());
        }
        put(TOKEN, &record.token.0);
        put(CREATED, &session.created.to_le_bytes());
        put(EXPIRES, &session.expires.to_le_bytes());
        if let Some(exchange) = &record.exchange
            && let Some(seal) = exchange.keys.first()
        {
            put(EXCHANGE, &exchange.hash.0[..EXCHANGE_LEN]);
            put(SEAL, seal.as_bytes());
        }
        let checksum = crc32fast::hash(&bytes[CHECKED..]);
        bytes[CHECKSUM..IS_ENDED].copy_from_slice(&checksum.to_le_bytes());
        Ok(Self(bytes))
    }

    /// The slot in what was read; `None` if it was never written.
    pub(super) fn read(bytes: Box<[u8; SLOT_LEN]>) -> Result<Option<Self>, Damaged> {
        let slot = Self(bytes);
        if slot.0.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let checksum = crc32fast::hash(&slot.0[CHECKED..]);
        if slot.part(CHECKSUM) != checksum.to_le_bytes() {
            return Err(Damaged);
        }
        Ok(Some(slot))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &*self.0
    }

    pub(super) fn is_of_token(&self, token: TokenHash) -> bool {
        self.part(TOKEN) == token.0
    }

    pub(super) fn is_of_user(&self, user: &UserId) -> bool {
        self.id(APPID, 0) == user.appid.as_bytes() && self.id(OPENID, 1) == user.openid.as_bytes()
    }

    pub(super) fn is_of_exchange(&self, exchange: ExchangeHash) -> bool {
        self.part::<EXCHANGE_LEN>(EXCHANGE) == exchange.0[..EXCHANGE_LEN]
    }

    pub(super) fn session(&self) -> Session {
        let User { openid, unionid } = self.user();
        Session {
            user: UserId {
                appid: text(self.id(APPID, 0)),
                openid,
            },
            unionid,
            created: self.created(),
            expires: self.expires(),
        }
    }

    pub(super) fn user(&self) -> User {
        let unionid = self.id(UNIONID, 2);
        User {
            openid: text(self.id(OPENID, 1)),
            unionid: (!unionid.is_empty()).then(|| text(unionid)),
        }
    }

    /// The user, in short: others may have the same.
    pub(super) fn user_key(&self) -> u64 {
        key(self.id(APPID, 0), self.id(OPENID, 1))
    }

    /// The exchange, in short, if one came with it.
    pub(super) fn exchange_key(&self) -> Option<u64> {
        self.seal().map(|_| u64::from_le_bytes(self.part(EXCHANGE)))
    }

    pub(super) fn seal(&self) -> Option<[u8; ENCRYPTED_KEY_LEN]> {
        let seal = self.part(SEAL);
        (seal != [0; ENCRYPTED_KEY_LEN]).then_some(seal)
    }

    pub(super) fn created(&self) -> u64 {
        u64::from_le_bytes(self.part(CREATED))
    }

    pub(super) fn expires(&self) -> u64 {
        u64::from_le_bytes(self.part(EXPIRES))
    }

    pub(super) fn is_ended(&self) -> bool {
        self.0[IS_ENDED] != 0
    }

    pub(super) fn failures(&self) -> u8 {
        self.0[FAILURES]
    }

    fn part<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        let mut part = [0; LEN];
        part.copy_from_slice(&self.0[at..at + LEN]);
        part
    }

    fn id(&self, at: usize, number: usize) -> &[u8] {
        let length = usize::from(self.0[LENGTHS + number]).min(MAX_ID);
        &self.0[at..at + length]
    }
}

/// What was text when it was written.
fn text(id: &[u8]) -> String {
    std::str::from_utf8(id).unwrap_or_default().to_owned()
}

/// A user, in short: others may have the same.
pub(super) fn user_key(user: &UserId) -> u64 {
    key(user.appid.as_bytes(), user.openid.as_bytes())
}

pub(super) fn exchange_key(exchange: ExchangeHash) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&exchange.0[..8]);
    u64::from_le_bytes(key)
}

/// NUL is in no id. Nobody can choose users whose keys crowd together.
fn key(appid: &[u8], openid: &[u8]) -> u64 {
    let digest = digest(&SHA256, &[appid, openid].join(&0));
    let mut key = [0; 8];
    key.copy_from_slice(&digest.as_ref()[..8]);
    u64::from_le_bytes(key)
}
