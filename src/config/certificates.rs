//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, which the TLS library reads from the environment instead of the system's
//! certificates.

use std::path::Path;
use std::{env, fs};

use super::reader::{InvalidSetting, Reader};

pub(super) const NAMES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Checks them, because the library's errors name neither.
pub(super) fn check(reader: &mut Reader) -> Result<(), InvalidSetting> {
    for name in NAMES {
        let Some((value, is_in_dotenv)) = reader.library_variable(name) else {
            continue;
        };
        if is_in_dotenv {
            reader.warning(format!(
                "{name} in .env has no effect: it is read from the environment alone"
            ));
            continue;
        }
        let problem = if name == NAMES[0] {
            problem_of_file(Path::new(value))
        } else {
            env::split_paths(value).find_map(|dir| problem_of_directory(&dir))
        };
        if let Some(problem) = problem {
            return Err(reader.problem(format!(
                "{name} must name certificates, or be removed from the environment to use the system's: {problem}"
            )));
        }
    }
    Ok(())
}

fn problem_of_file(path: &Path) -> Option<String> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let shown = path.display();
    match fs::read(path) {
        _ if path.as_os_str().is_empty() => Some("it is empty".into()),
        Err(error) => Some(format!("{shown} cannot be read: {error}")),
        Ok(text)
            if text
                .split(|byte| *byte == b'\n')
                .any(|line| line.starts_with(BEGIN)) =>
        {
            None
        }
        Ok(text) if text.starts_with(b"\xef\xbb\xbf") => Some(format!(
            "{shown} begins with a byte order mark: save it as UTF-8 without one"
        )),
        Ok(_) => Some(format!("{shown} holds no certificate in PEM form")),
    }
}

fn problem_of_directory(path: &Path) -> Option<String> {
    let error = fs::read_dir(path).err()?;
    let shown = path.display();
    Some(format!("{shown} cannot be read as a directory: {error}"))
}
