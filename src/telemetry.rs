//! The log: one subscriber for the process, on standard error, as text or as JSON.

mod writer;

use std::io::{self, Write};
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

pub use writer::dropped_lines;
use writer::{Flush, Lines};

/// What is logged, and in which format.
#[derive(Debug)]
pub struct Settings {
    /// `RUST_LOG`.
    pub filter: Filter,
    /// `LOG_FORMAT`.
    pub format: Format,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Human-readable text.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// Which lines are logged.
#[derive(Debug)]
pub struct Filter(Targets);

impl Default for Filter {
    fn default() -> Self {
        Self(Targets::new().with_default(LevelFilter::INFO))
    }
}

impl FromStr for Filter {
    type Err = ();

    /// Unlike in [`Targets`], a word without `=` must be a level: a mistyped level would be taken for the name
    /// of a target, and would switch all lines off.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(',').map(str::trim);
        if words.any(|word| !word.contains('=') && word.parse::<LevelFilter>().is_err()) {
            return Err(());
        }
        text.parse().map(Self).map_err(|_| ())
    }
}

/// Writes the queued lines when it is dropped, for at most a second.
#[must_use]
pub struct Logging {
    lines: Lines,
    _flush: Flush,
}

impl Logging {
    /// Writes a line, whatever `RUST_LOG` is.
    pub fn print(&self, line: &str) {
        // The queue accepts or drops it, without an error.
        let _ = self.lines.clone().write_all(format!("{line}\n").as_bytes());
    }
}

/// Installs the subscriber of the process, and logs panics. Does nothing if there is a subscriber.
///
/// Lines go to standard error. Those that cannot be written are dropped and counted.
///
/// # Errors
/// If standard error cannot be duplicated: the process is out of file descriptors.
pub fn init(settings: &Settings) -> io::Result<Logging> {
    let (lines, flush) = writer::start()?;
    let layer = fmt::layer().with_writer(lines.clone());
    let layer = match settings.format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    let filter = settings.filter.0.clone().and(only_ours_below_info());
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        // The panic message is not logged: it can quote a secret.
        std::panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            tracing::error!(location, "panicked");
        }));
    }
    Ok(Logging {
        lines,
        _flush: flush,
    })
}

/// Below INFO, HTTP libraries log URLs, headers and bodies, and with them the AppSecret, tokens and
/// codes. So only our own lines are logged below INFO, whatever `RUST_LOG` says.
fn only_ours_below_info() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("wxlogin", LevelFilter::TRACE)
}
