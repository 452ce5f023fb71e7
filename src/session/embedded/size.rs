//! How large the store is, for the metrics. It has a connection of its own, so that no login waits for it.

use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::{Database, OpenError, Place, Reader, SLICE_BITS, Shared, connection, directory, lock};

/// Rows are numbered without gaps within a slice, so that nothing is counted one by one.
const SESSIONS: &str = "SELECT coalesce(sum(
        (SELECT max(id) FROM session WHERE id >= slice.id << ?1 AND id < slice.id + 1 << ?1)
        - (SELECT min(id) FROM session WHERE id >= slice.id << ?1 AND id < slice.id + 1 << ?1) + 1
    ), 0) FROM slice WHERE expires > ?2";
const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";

/// Looks at the store whenever it is asked.
#[derive(Clone)]
pub struct Size {
    shared: Arc<Shared>,
    reader: Reader,
}

impl Database {
    pub(in crate::session) fn size(&self) -> Result<Size, OpenError> {
        let reader = match &self.0.place {
            Place::Directory {
                database, readers, ..
            } => {
                let db = connection::reader(database)
                    .map_err(|error| directory::refusal(database, &error))?;
                let reader = Arc::new(Mutex::new(Some(db)));
                lock(readers).push(reader.clone());
                reader
            }
            Place::Memory(_) => Reader::default(),
        };
        Ok(Size {
            shared: self.0.clone(),
            reader,
        })
    }
}

impl Size {
    /// Sessions, those included that were ended before their time.
    pub(in crate::session) fn sessions(&self) -> f64 {
        let now = self.shared.clock.now();
        self.ask(|db| {
            let mut query = db.prepare_cached(SESSIONS)?;
            query.query_row((SLICE_BITS, now.cast_signed()), |row| row.get(0))
        })
    }

    /// Bytes, without the write-ahead log.
    pub(in crate::session) fn bytes(&self) -> f64 {
        self.ask(|db| db.query_row(BYTES, [], |row| row.get(0)))
    }

    /// Not a number if the store is closed or cannot be read.
    fn ask(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<f64>) -> f64 {
        let answer = match &self.shared.place {
            Place::Directory { .. } => lock(&self.reader).as_ref().map(ask),
            Place::Memory(engine) => Some(ask(lock(engine).db())),
        };
        answer.and_then(Result::ok).unwrap_or(f64::NAN)
    }
}
