//! The tables of the store, and each operation on them inside one transaction.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Error, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    Table, TableDefinition, TableHandle, WriteTransaction,
};

use super::{ExchangeHash, OpenError, Record, Session, TokenHash, User, UserId};
use crate::session::EXCHANGE_TTL;
use crate::session::keyring::Keyring;

/// Token hash → appid, openid, unionid or "", generation, created, expires. Times are Unix seconds.
const SESSIONS: TableDefinition<[u8; 32], SessionValue> = TableDefinition::new("sessions");
/// (appid, openid) → the generation of the user's living sessions, if it is not 0: those of earlier
/// ones were ended together.
const GENERATIONS: TableDefinition<UserKey, u64> = TableDefinition::new("generations");
/// (appid, openid) → the sealed `session_key` of the last login and the one before it or "", failures
/// to open user data since, and the expiry of the user's last session.
const USERS: TableDefinition<UserKey, UserValue> = TableDefinition::new("users");
/// Exchange hash → openid, unionid or "", expires.
const EXCHANGES: TableDefinition<[u8; 32], (&str, &str, u64)> = TableDefinition::new("exchanges");
/// When a row is to be removed, and its key → which table it is in.
const EXPIRIES: TableDefinition<(u64, [u8; 32]), u8> = TableDefinition::new("expiries");

type SessionValue = (&'static str, &'static str, &'static str, u64, u64, u64);
type UserKey = (&'static str, &'static str);
type UserValue = (&'static [u8], &'static [u8], u8, u64);

const SESSION: u8 = 0;
const EXCHANGE: u8 = 1;

/// redb's page cache. Its default is 1 GiB.
const CACHE_BYTES: usize = 64 << 20;

/// Opens a file, or makes one that only its owner can read.
pub(super) fn open_file(path: &Path) -> Result<Database, OpenError> {
    let io_error = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let file = private_file(path).map_err(io_error)?;
    // redb checks what it reads, but a page that was overwritten while it was closed makes it panic.
    let opened = catch_unwind(AssertUnwindSafe(|| build(FileBackend::new(file)?)));
    let damaged = |reason: String| OpenError::Damaged {
        path: path.to_owned(),
        reason,
    };
    match opened {
        Err(_) => Err(damaged("its pages are not consistent".into())),
        Ok(Ok(database)) => {
            // Only now is it known to be ours; an older one may be readable by others.
            fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io_error)?;
            Ok(database)
        }
        Ok(Err(Error::DatabaseAlreadyOpen)) => Err(OpenError::InUse(path.to_owned())),
        Ok(Err(Error::Io(error))) if !is_about_content(&error) => Err(io_error(error)),
        Ok(Err(error)) => Err(damaged(error.to_string())),
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // A new file is only durable once its directory is.
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

fn is_about_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// A database of another program would be opened without complaint, and get our tables as well.
fn refuse_others(database: &Database) -> Result<(), Error> {
    let ours = [
        SESSIONS.name(),
        GENERATIONS.name(),
        USERS.name(),
        EXCHANGES.name(),
        EXPIRIES.name(),
    ];
    let transaction = database.begin_read()?;
    for table in transaction.list_tables()? {
        if !ours.contains(&table.name()) {
            return Err(Error::Corrupted(
                "it holds tables of another program".into(),
            ));
        }
    }
    Ok(())
}

/// Opens the database and its tables.
fn build(backend: impl StorageBackend) -> Result<Database, Error> {
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(backend)?;
    refuse_others(&database)?;
    let transaction = database.begin_write()?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(GENERATIONS)?;
    transaction.open_table(USERS)?;
    transaction.open_table(EXCHANGES)?;
    transaction.open_table(EXPIRIES)?;
    transaction.commit()?;
    Ok(database)
}

/// A session that was not ended, expired or not.
pub(super) fn find(
    transaction: &ReadTransaction,
    token: TokenHash,
) -> Result<Option<Session>, Error> {
    let Some(row) = transaction.open_table(SESSIONS)?.get(token.0)? else {
        return Ok(None);
    };
    let (appid, openid, unionid, generation, created, expires) = row.value();
    let current = transaction.open_table(GENERATIONS)?.get((appid, openid))?;
    if current.is_some_and(|current| generation < current.value()) {
        return Ok(None);
    }
    Ok(Some(Session {
        user: UserId {
            appid: appid.to_owned(),
            openid: openid.to_owned(),
        },
        unionid: non_empty(unionid),
        created,
        expires,
    }))
}

pub(super) fn exchanged(
    transaction: &ReadTransaction,
    exchange: ExchangeHash,
    now: u64,
) -> Result<Option<User>, Error> {
    let row = transaction.open_table(EXCHANGES)?.get(exchange.0)?;
    Ok(row.and_then(|row| {
        let (openid, unionid, expires) = row.value();
        (now < expires).then(|| User {
            openid: openid.to_owned(),
            unionid: non_empty(unionid),
        })
    }))
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// What is known of a user: see [`USERS`].
#[derive(Default)]
pub(super) struct UserRow {
    pub(super) keys: Keyring,
    last_expiry: u64,
}

impl UserRow {
    fn read(
        users: &impl ReadableTable<UserKey, UserValue>,
        user: &UserId,
    ) -> Result<Option<Self>, Error> {
        let row = users.get((&*user.appid, &*user.openid))?;
        Ok(row.map(|row| {
            let (newest, previous, failures, last_expiry) = row.value();
            let keys = Keyring {
                newest: newest.to_owned(),
                previous: previous.to_owned(),
                failures,
            };
            Self { keys, last_expiry }
        }))
    }

    fn write(&self, users: &mut Table<UserKey, UserValue>, user: &UserId) -> Result<(), Error> {
        let keys = &self.keys;
        let row = (
            &*keys.newest,
            &*keys.previous,
            keys.failures,
            self.last_expiry,
        );
        users.insert((&*user.appid, &*user.openid), row)?;
        Ok(())
    }
}

/// What is known of a user.
pub(super) fn user(transaction: &ReadTransaction, user: &UserId) -> Result<Option<UserRow>, Error> {
    UserRow::read(&transaction.open_table(USERS)?, user)
}

pub(super) fn create(transaction: &WriteTransaction, new: &Record, now: u64) -> Result<(), Error> {
    let session = &new.session;
    let (appid, openid) = (&*session.user.appid, &*session.user.openid);
    let unionid = session.unionid.as_deref().unwrap_or_default();
    let mut users = transaction.open_table(USERS)?;
    let mut user = UserRow::read(&users, &session.user)?.unwrap_or_default();
    user.last_expiry = user.last_expiry.max(session.expires);
    let mut schedule = transaction.open_table(EXPIRIES)?;
    if let Some(exchange) = &new.exchange {
        user.keys.put(&exchange.seals);
        let expires = now + EXCHANGE_TTL.as_secs();
        let mut exchanges = transaction.open_table(EXCHANGES)?;
        exchanges.insert(exchange.hash.0, (openid, unionid, expires))?;
        schedule.insert((expires, exchange.hash.0), EXCHANGE)?;
    }
    user.write(&mut users, &session.user)?;
    let generations = transaction.open_table(GENERATIONS)?;
    let generation = generations
        .get((appid, openid))?
        .map_or(0, |row| row.value());
    let times = (session.created, session.expires);
    let row = (appid, openid, unionid, generation, times.0, times.1);
    let mut sessions = transaction.open_table(SESSIONS)?;
    sessions.insert(new.token.0, row)?;
    schedule.insert((session.expires, new.token.0), SESSION)?;
    Ok(())
}

/// Counts a failure that is about to be possible.
pub(super) fn begin_attempt(transaction: &WriteTransaction, user: &UserId) -> Result<(), Error> {
    let mut users = transaction.open_table(USERS)?;
    if let Some(mut row) = UserRow::read(&users, user)? {
        row.keys.begin_attempt();
        row.write(&mut users, user)?;
    }
    Ok(())
}

/// Takes the failure back that did not happen, or drops the keys after the last one.
pub(super) fn end_attempt(
    transaction: &WriteTransaction,
    user: &UserId,
    failed: bool,
) -> Result<(), Error> {
    let mut users = transaction.open_table(USERS)?;
    let Some(mut row) = UserRow::read(&users, user)? else {
        return Ok(());
    };
    row.keys.end_attempt(failed);
    row.write(&mut users, user)
}

/// Ends a session: it expired at the beginning of time. Its row stays until its entry in
/// [`EXPIRIES`] comes up, because that is when the user's row may go too.
pub(super) fn end(transaction: &WriteTransaction, token: TokenHash) -> Result<(), Error> {
    let mut sessions = transaction.open_table(SESSIONS)?;
    let Some(session) = sessions.get(token.0)?.map(|row| {
        let (appid, openid, unionid, generation, created, _) = row.value();
        let ids = [appid, openid, unionid].map(str::to_owned);
        (ids, generation, created)
    }) else {
        return Ok(());
    };
    let ([appid, openid, unionid], generation, created) = session;
    let ended = (&*appid, &*openid, &*unionid, generation, created, 0);
    sessions.insert(token.0, ended)?;
    Ok(())
}

/// Ends all sessions of a user: those that begin from now on are of another generation.
pub(super) fn end_all(transaction: &WriteTransaction, user: &UserId) -> Result<(), Error> {
    let mut generations = transaction.open_table(GENERATIONS)?;
    let key = (&*user.appid, &*user.openid);
    let generation = generations.get(key)?.map_or(0, |row| row.value());
    generations.insert(key, generation + 1)?;
    Ok(())
}

/// Whether a row is due for removal.
pub(super) fn any_expired(database: &Database, now: u64) -> Result<bool, Error> {
    let expiries = database.begin_read()?.open_table(EXPIRIES)?;
    Ok(expiries
        .first()?
        .is_some_and(|(key, _)| key.value().0 <= now))
}

/// Removes at most `limit` rows that expired, and the users who have no session left; says how
/// many rows it removed.
pub(super) fn remove_expired(
    transaction: &WriteTransaction,
    now: u64,
    limit: usize,
) -> Result<usize, Error> {
    let mut due = transaction.open_table(EXPIRIES)?;
    let mut sessions = transaction.open_table(SESSIONS)?;
    let mut exchanges = transaction.open_table(EXCHANGES)?;
    let mut users = transaction.open_table(USERS)?;
    let mut generations = transaction.open_table(GENERATIONS)?;
    for removed in 0..limit {
        let first = due.first()?.map(|(key, kind)| (key.value(), kind.value()));
        let Some(((expires, hash), kind)) = first.filter(|((expires, _), _)| *expires <= now)
        else {
            return Ok(removed);
        };
        due.remove((expires, hash))?;
        if kind == EXCHANGE {
            exchanges.remove(hash)?;
        } else if let Some(row) = sessions.remove(hash)? {
            let (appid, openid, ..) = row.value();
            let last_expiry = users.get((appid, openid))?.map(|row| row.value().3);
            if last_expiry.is_some_and(|last_expiry| last_expiry <= now) {
                users.remove((appid, openid))?;
                generations.remove((appid, openid))?;
            }
        }
    }
    Ok(limit)
}
