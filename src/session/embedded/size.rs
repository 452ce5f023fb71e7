//! The size of the store, for the metrics. It is read with a connection of its own, so that no login waits.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::{
    Database, OpenError, Place, Reader, SLICE_BITS, SharedDatabase, connection, directory, lock,
};

/// Ids have no gaps within a slice, so the first and the last one tell the number.
const SESSIONS: &str = "SELECT coalesce(sum(
        (SELECT max(id) FROM session WHERE id >= slice.id << ?1 AND id < slice.id + 1 << ?1)
        - (SELECT min(id) FROM session WHERE id >= slice.id << ?1 AND id < slice.id + 1 << ?1) + 1
    ), 0) FROM slice WHERE expires > ?2";
const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";

/// The longest wait for a read. A disk that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Reads the size at every call.
#[derive(Clone)]
pub struct Size {
    shared: Arc<SharedDatabase>,
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
    /// Sessions that have not expired, including those that were ended early.
    pub(in crate::session) fn sessions(&self) -> f64 {
        let clock = &self.shared.clock;
        if let Place::Memory(maps) = &self.shared.place {
            let sessions = lock(maps).len(clock.monotonic());
            return f64::from(i32::try_from(sessions).unwrap_or(i32::MAX));
        }
        let now = clock.now();
        self.ask(move |db| {
            let mut query = db.prepare_cached(SESSIONS)?;
            query.query_row((SLICE_BITS, now.cast_signed()), |row| row.get(0))
        })
    }

    /// Bytes of the files, without the write-ahead log.
    pub(in crate::session) fn bytes(&self) -> f64 {
        self.ask(|db| db.query_row(BYTES, [], |row| row.get(0)))
    }

    /// NaN if there are no files, or the store is closed or does not answer in time.
    fn ask(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<f64> + Send + 'static) -> f64 {
        let (sender, answer) = mpsc::channel();
        let reader = self.reader.clone();
        let look = move || {
            // A read that hangs still holds the connection.
            let reader = reader.try_lock().ok()?;
            let answer = ask(reader.as_ref()?).ok()?;
            sender.send(answer).ok()
        };
        let looking = thread::Builder::new().spawn(look);
        let answer = looking.ok().and_then(|_| answer.recv_timeout(TIMEOUT).ok());
        answer.unwrap_or(f64::NAN)
    }
}
