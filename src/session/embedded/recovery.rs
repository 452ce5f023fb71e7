//! What a start finds: all segments are read before anything is changed, then the last goes on and
//! the others that a crash left without an index get theirs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::OpenError;
use super::appender::{self, Active, Appender, Home, Limits};
use super::directory::{self, Directory};
use super::header::Stage;
use super::position::Mask;
use super::segment::{Opened, Segment};
use super::segments::Segments;

/// A store that is open.
pub(super) struct Recovered {
    pub(super) segments: Arc<Segments>,
    pub(super) appender: Appender,
    pub(super) mask: Mask,
}

pub(super) fn open(path: &Path, limits: Limits, now: u64) -> Result<Recovered, OpenError> {
    let (directory, mask) = Directory::open(path)?;
    let io_error = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let numbers = directory.segments().map_err(io_error)?;
    let opened = numbers.iter().map(|number| {
        let medium = directory.open_segment(*number);
        let opened = medium.and_then(|medium| Segment::open(*number, medium));
        opened.map_err(|source| refused(&directory.file_of(*number), source))
    });
    let opened: Vec<Opened> = opened.collect::<Result<_, _>>()?;
    directory.make_private()?;

    let damaged: usize = opened.iter().map(|opened| opened.damaged).sum();
    if damaged > 0 {
        tracing::warn!(
            damaged,
            "sessions are skipped that were not written as a whole, or are damaged"
        );
    }
    let last_number = numbers.last().copied().unwrap_or_default();
    let goes_on = opened.last().filter(|last| last.stage == Stage::Appending);
    let begun = goes_on.map(|last| last.begun);
    let segments = Segments::new(opened.into_iter().map(|opened| opened.segment));
    let active = match begun {
        Some(begun) => active(&segments, last_number, begun).map_err(io_error)?,
        None => None,
    };
    let active_number = active.as_ref().map(|active| active.segment.number());
    let segments = Arc::new(segments);
    let home = Home::Directory(directory);
    let mut appender = Appender::new(home, segments.clone(), limits, active, last_number);
    appender.purge(now);
    for segment in segments.all().map_err(io_error)? {
        if Some(segment.number()) != active_number {
            appender::close(&segment);
        }
    }
    segments.remember_stored(now).map_err(io_error)?;
    Ok(Recovered {
        segments,
        appender,
        mask,
    })
}

fn active(segments: &Segments, number: u32, begun: Option<u64>) -> io::Result<Option<Active>> {
    let segment = segments.get(number)?;
    let active = segment.map(|segment| {
        Ok(Active {
            room: segment.room()?,
            segment,
            begun,
        })
    });
    active.transpose()
}

fn refused(path: &Path, error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::InvalidData => directory::damaged(path, &error),
        _ => OpenError::Io {
            path: path.to_owned(),
            source: error,
        },
    }
}
