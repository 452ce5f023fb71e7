//! What is wrong with settings.

use std::fmt;

/// What is wrong with the settings: a line for each, none with the value of a secret.
#[derive(Debug, thiserror::Error)]
pub struct Problems(pub(super) Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
