//! Reads text files with settings or secrets, as editors of any system write them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const MAX_LEN: u64 = 64 * 1024;

/// Why a file cannot be read. Holds no part of its content.
#[derive(Debug, thiserror::Error)]
pub enum TextFileError {
    /// It does not exist, or is not accessible.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// UTF-16, which Windows calls "Unicode".
    #[error("it is UTF-16: save it as UTF-8")]
    Utf16,
    /// Not text in UTF-8; the number of the first such line.
    #[error("line {0} is not UTF-8 text")]
    NotText(usize),
    /// Larger than 64 KiB.
    #[error("it is larger than 64 KiB")]
    TooLarge,
}

/// The text without a byte order mark, with `\n` at the end of lines.
pub(super) fn read(path: &Path) -> Result<String, TextFileError> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(TextFileError::TooLarge);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(TextFileError::Utf16);
    }
    let line_at = |position: usize| {
        let before = bytes.iter().take(position);
        1 + before.filter(|byte| **byte == b'\n').count()
    };
    if let Some(nul) = bytes.iter().position(|byte| *byte == 0) {
        return Err(TextFileError::NotText(line_at(nul)));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| TextFileError::NotText(line_at(error.valid_up_to())))?;
    let text = text.trim_start_matches('\u{feff}');
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}
