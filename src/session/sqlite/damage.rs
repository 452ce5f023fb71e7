//! Damage of the database, and what the operator is told of it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::IntCounter;
use rusqlite::Error;
use rusqlite::ErrorCode::{self, DatabaseCorrupt, NotADatabase};

use super::Unavailable;

/// How long the store is not ready after a report: SQLite can take a single read that failed for damage.
const UNREADY: Duration = Duration::from_secs(10);
const REMEDY: &str = "stop wxlogin, check the disk, and restore the directory of the store from a backup, or move it away to start with no sessions";

pub(super) struct Damage {
    pub(super) reports: IntCounter,
    pub(super) last: Mutex<Option<Instant>>,
}

impl Damage {
    /// Counts what SQLite reports as damage. Reports that follow each other are one line of the log.
    pub(super) fn note(&self, error: Error) -> Unavailable {
        let code = error.sqlite_error_code();
        let error = Unavailable::from(error);
        if is_damage(code) {
            self.reports.inc();
            if !self.is_recent() {
                let cause = &error.0;
                tracing::error!(cause, remedy = REMEDY, "the session store is damaged");
            }
            *self.last.lock() = Some(Instant::now());
        }
        error
    }

    pub(super) fn is_recent(&self) -> bool {
        self.last
            .lock()
            .is_some_and(|report| report.elapsed() < UNREADY)
    }
}

pub(super) fn is_damage(code: Option<ErrorCode>) -> bool {
    matches!(code, Some(DatabaseCorrupt | NotADatabase))
}

impl From<Error> for Unavailable {
    fn from(error: Error) -> Self {
        Self(match error {
            // With the extended result code.
            Error::SqliteFailure(kind, Some(message)) => format!("{message} ({kind})"),
            other => other.to_string(),
        })
    }
}
