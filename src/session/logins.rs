//! What the logins of a user say. Each function reads those that have not expired, the newest first, and no more than
//! it needs.

use std::borrow::Cow;

use super::{EncryptedKey, MAX_FAILURES, Session};

/// The most different keys of a user in a store: two, each encrypted with up to two AppSecrets.
const MAX_KEYS: usize = 4;

/// A login of a user.
pub(super) struct Login<'a> {
    pub(super) session: Cow<'a, Session>,
    /// The key that this login brought.
    pub(super) key: Option<EncryptedKey>,
    /// Failed decryptions since this login.
    pub(super) failures: u8,
    pub(super) is_ended: bool,
}

/// Read as long as needed.
pub(super) type Logins<'a, 'b> = &'a mut dyn Iterator<Item = Login<'b>>;

/// The different keys, newest first, back to a login after which the user's data failed to decrypt too often.
pub(super) fn keys(logins: Logins<'_, '_>) -> Vec<EncryptedKey> {
    let mut keys = Vec::new();
    for login in logins.take_while(|login| login.failures < MAX_FAILURES) {
        keys.extend(login.key.filter(|key| !keys.contains(key)));
        if keys.len() == MAX_KEYS {
            break;
        }
    }
    keys
}

/// The newest key, if a session is alive and the user's data did not fail to decrypt too often.
pub(super) fn newest_key(logins: Logins<'_, '_>) -> Option<EncryptedKey> {
    let (mut is_alive, mut newest) = (false, None);
    for login in logins {
        is_alive |= !login.is_ended;
        newest = newest.or(login.key.map(|key| (key, login.failures)));
        if is_alive && newest.is_some() {
            break;
        }
    }
    let (key, failures) = newest.filter(|_| is_alive)?;
    (failures < MAX_FAILURES).then_some(key)
}

/// The sessions that were not ended.
pub(super) fn list(logins: Logins<'_, '_>) -> Vec<Session> {
    let alive = logins.filter(|login| !login.is_ended);
    alive.map(|login| login.session.into_owned()).collect()
}

/// The id of the login at which a failed decryption is counted.
pub(super) fn newest_with_key(logins: Logins<'_, '_>) -> Option<i64> {
    let mut with_key = logins.filter(|login| login.key.is_some());
    with_key.next().map(|login| login.session.id)
}
