//! When a line was written. Lines of the same second share all but the fraction.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// UTC with microseconds: `2026-11-25T04:05:06.123456Z`.
pub(super) struct Timestamp;

thread_local! {
    /// A second since the epoch, and its text without a fraction.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

impl FormatTime for Timestamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != now.as_secs() {
                *second = now.as_secs();
                text.clear();
                let time = UNIX_EPOCH + Duration::from_secs(*second);
                write!(text, "{}", humantime::format_rfc3339_seconds(time))?;
                text.truncate("2026-11-25T04:05:06".len());
            }
            writer.write_str(text)
        })?;
        write!(writer, ".{:06}Z", now.subsec_micros())
    }
}
