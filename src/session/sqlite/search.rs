//! Searches for the sessions of a user.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, Result};

use crate::session::{EncryptedKey, UserId};

/// The most buckets that are searched, should the number of one be damaged: half a billion sessions.
const MAX_BUCKETS: i64 = 1 << 16;

/// What a search reads of a session.
pub(super) struct Login {
    pub(super) id: i64,
    /// The key that this login brought.
    pub(super) key: Option<EncryptedKey>,
    /// Failed decryptions since this login.
    pub(super) failures: u8,
    pub(super) is_ended: bool,
    pub(super) expires: u64,
}

/// Calls `add` with each session of the user, the newest first, also with those that have expired, until it returns
/// `false`.
pub(super) fn search(
    db: &Connection,
    user: UserId<'_>,
    mut add: impl FnMut(Login) -> bool,
) -> Result<()> {
    // One snapshot for all buckets.
    let transaction = db.unchecked_transaction()?;
    let Some((oldest, newest)) = buckets(db)? else {
        return Ok(());
    };
    let mut statement = db.prepare_cached(
        "SELECT id, session_key, failures, ended, expires FROM session
            WHERE bucket = ?1 AND user = ?2 AND appid = ?3 AND openid = ?4 ORDER BY id DESC",
    )?;
    statement.raw_bind_parameter(2, hash(user))?;
    statement.raw_bind_parameter(3, user.appid)?;
    statement.raw_bind_parameter(4, user.openid)?;
    for bucket in (oldest.max(newest.saturating_sub(MAX_BUCKETS))..=newest).rev() {
        statement.raw_bind_parameter(1, bucket)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let login = Login {
                id: row.get(0)?,
                key: row.get::<_, Option<_>>(1)?.map(EncryptedKey),
                failures: row.get(2)?,
                is_ended: row.get(3)?,
                expires: row.get::<_, i64>(4)?.cast_unsigned(),
            };
            if !add(login) {
                return Ok(());
            }
        }
    }
    drop(statement);
    transaction.finish()
}

/// The oldest and the newest bucket; `None` if there are no sessions.
pub(super) fn buckets(db: &Connection) -> Result<Option<(i64, i64)>> {
    // Each is the first or last entry of the index; asked for both at once, SQLite reads all of it.
    let sql = "SELECT (SELECT min(bucket) FROM session), (SELECT max(bucket) FROM session)";
    let mut statement = db.prepare_cached(sql)?;
    statement.query_row([], |row| Ok(row.get(0).ok().zip(row.get(1).ok())))
}

/// 32 bits of a user. Others may have the same.
pub(super) fn hash(user: UserId<'_>) -> u32 {
    let mut context = Context::new(&SHA256);
    context.update(user.appid.as_bytes());
    context.update(&[0]); // in neither
    context.update(user.openid.as_bytes());
    let digest = context.finish();
    let bytes = digest.as_ref().iter().take(4);
    bytes.fold(0, |bits, byte| bits << 8 | u32::from(*byte))
}
