//! The header of a database file, read before SQLite opens it: SQLite may change what it opens.
//!
//! See <https://www.sqlite.org/fileformat.html#the_database_header>.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::OpenError;
use super::connection::{APPLICATION_ID, PAGE_SIZE, VERSION};
use super::directory::{damaged, io_error};

const MAGIC: &[u8] = b"SQLite format 3\0";
const PAGES: usize = 28;
const USER_VERSION: usize = 60;
const APPLICATION: usize = 68;

/// Whether it is a database of ours and, if all of it must be in the file, whether it is. Returns its
/// length.
pub(super) fn examine(path: &Path, is_whole: bool) -> Result<u64, OpenError> {
    let mut header = [0; 100];
    let mut file = File::open(path).map_err(io_error(path))?;
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(damaged(path, "it is too short"));
        }
        read => read.map_err(io_error(path))?,
    }
    let length = file.metadata().map_err(io_error(path))?.len();
    let number = |at: usize| {
        header[at..at + 4]
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    if !header.starts_with(MAGIC) {
        return Err(damaged(path, "it is not a database"));
    }
    if number(APPLICATION) != APPLICATION_ID {
        return Err(damaged(path, "it is a database of another program"));
    }
    if number(USER_VERSION) != VERSION {
        let directory = path.parent().unwrap_or(path);
        return Err(OpenError::OtherVersion(directory.to_owned()));
    }
    if is_whole && length < u64::from(number(PAGES)) * u64::from(PAGE_SIZE) {
        return Err(damaged(path, "its end is missing"));
    }
    Ok(length)
}
