//! All segments of a store, as those who look something up see them.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::exchanges::{Exchanges, MAX_EXCHANGES, is_recent};
use super::position::Position;
use super::segment::Segment;
use super::slot::{self, Damaged, Slot};
use super::{ExchangeHash, MAX_FAILURES, TokenHash, User, UserId};
use crate::session::EXCHANGE_TTL;
use crate::session::encryption::ENCRYPTED_KEY_LEN;

/// Encryption of a user that are looked for: two keys, each as two AppSecrets may seal it.
const MAX_SEALS: usize = 4;

pub(super) struct Segments {
    /// `None` once the store is closed.
    by_number: RwLock<Option<ByNumber>>,
    exchanges: Exchanges,
}

type ByNumber = BTreeMap<u32, Arc<Segment>>;

/// What user data may be opened with.
#[derive(Default)]
pub(super) struct Keys {
    /// Sealed `session_key`s, the newest first.
    pub(super) seals: Vec<[u8; ENCRYPTED_KEY_LEN]>,
    /// The login that brought the newest, where failures are counted.
    pub(super) newest: Option<Position>,
}

impl Segments {
    pub(super) fn new(segments: impl IntoIterator<Item = Segment>) -> Self {
        let segments = segments.into_iter();
        let by_number = segments.map(|segment| (segment.number(), Arc::new(segment)));
        Self {
            by_number: RwLock::new(Some(by_number.collect())),
            exchanges: Exchanges::default(),
        }
    }

    pub(super) fn get(&self, number: u32) -> io::Result<Option<Arc<Segment>>> {
        let by_number = self.read_lock();
        let by_number = by_number.as_ref().ok_or_else(closed)?;
        Ok(by_number.get(&number).cloned())
    }

    /// In the order of their numbers.
    pub(super) fn all(&self) -> io::Result<Vec<Arc<Segment>>> {
        let by_number = self.read_lock();
        let by_number = by_number.as_ref().ok_or_else(closed)?;
        Ok(by_number.values().cloned().collect())
    }

    pub(super) fn add(&self, segment: Arc<Segment>) {
        if let Some(by_number) = &mut *self.write_lock() {
            by_number.insert(segment.number(), segment);
        }
    }

    pub(super) fn remove(&self, number: u32) {
        if let Some(by_number) = &mut *self.write_lock() {
            by_number.remove(&number);
        }
    }

    /// Nothing is found any more.
    pub(super) fn close(&self) {
        *self.write_lock() = None;
    }

    /// The session of a token, ended or not, expired or not.
    pub(super) fn find(&self, at: Position, token: TokenHash) -> io::Result<Option<Slot>> {
        let Some(segment) = self.get(at.segment)? else {
            return Ok(None);
        };
        let slot = segment.read(at.slot)?.unwrap_or_else(|Damaged| {
            let Position { segment, slot } = at;
            tracing::error!(segment, slot, "a stored session is damaged: it is lost");
            None
        });
        Ok(slot.filter(|slot| slot.is_of_token(token)))
    }

    /// Where the sessions are that a user has now.
    pub(super) fn living(&self, user: &UserId, now: u64) -> io::Result<Vec<Position>> {
        let mut living = Vec::new();
        self.each_of(user, |at, slot| {
            // Those that were ended too: perhaps that is not durable yet.
            if now < slot.expires() {
                living.push(at);
            }
            ControlFlow::Continue(())
        })?;
        Ok(living)
    }

    /// The newest keys of a user, up to a login after which too much failed to open.
    pub(super) fn keys(&self, user: &UserId) -> io::Result<Keys> {
        let mut keys = Keys::default();
        self.each_of(user, |at, slot| {
            let Some(seal) = slot.seal() else {
                return ControlFlow::Continue(());
            };
            if slot.failures() >= MAX_FAILURES {
                return ControlFlow::Break(());
            }
            keys.newest.get_or_insert(at);
            if !keys.seals.contains(&seal) {
                keys.seals.push(seal);
            }
            if keys.seals.len() == MAX_SEALS {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// Shows the logins of a user, the last first, until told to stop.
    fn each_of(
        &self,
        user: &UserId,
        mut show: impl FnMut(Position, &Slot) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let key = slot::user_key(user);
        for segment in self.all()?.iter().rev() {
            for number in segment.slots_of(key)? {
                let Ok(Some(slot)) = segment.read(number)? else {
                    continue;
                };
                if !slot.is_of_user(user) {
                    continue;
                }
                let at = Position {
                    segment: segment.number(),
                    slot: number,
                };
                if show(at, &slot).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whom a code was exchanged for in the last minute.
    pub(super) fn exchanged(&self, exchange: ExchangeHash, now: u64) -> io::Result<Option<User>> {
        let Some(at) = self.exchanges.position(exchange) else {
            return Ok(None);
        };
        let Some(segment) = self.get(at.segment)? else {
            return Ok(None);
        };
        let slot = segment.read(at.slot)?.ok().flatten();
        let ours = slot.filter(|it| it.is_of_exchange(exchange) && is_recent(it.created(), now));
        Ok(ours.map(|slot| slot.user()))
    }

    /// Remembers the exchange that came with a session, if one did.
    pub(super) fn remember(&self, slot: &Slot, at: Position, now: u64) {
        self.exchanges.remember(slot, at, now);
    }

    /// Remembers the exchanges of the last minute that a store which was opened just now holds.
    pub(super) fn remember_stored(&self, now: u64) -> io::Result<()> {
        let mut recent = Vec::new();
        'all: for segment in self.all()?.iter().rev() {
            for number in (1..=segment.count()).rev() {
                let Ok(Some(slot)) = segment.read(number)? else {
                    continue;
                };
                // They are nearly in the order of their times.
                let is_old = !is_recent(slot.created().saturating_add(EXCHANGE_TTL.as_secs()), now);
                if is_old || recent.len() == MAX_EXCHANGES {
                    break 'all;
                }
                let at = Position {
                    segment: segment.number(),
                    slot: number,
                };
                recent.push((slot, at));
            }
        }
        for (slot, at) in recent.iter().rev() {
            self.remember(slot, *at, now);
        }
        Ok(())
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, Option<ByNumber>> {
        self.by_number
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Option<ByNumber>> {
        self.by_number
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> io::Error {
    io::Error::other("it is closed")
}
