//! The log: one subscriber for the process, on standard error, as text or as JSON.

mod lines;
mod timestamp;

use std::io;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

use lines::Lines;
use timestamp::Timestamp;

/// What is logged, and how.
#[derive(Debug)]
pub struct Settings {
    /// `RUST_LOG`.
    pub filter: Filter,
    /// `LOG_FORMAT`.
    pub format: Format,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
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

    /// Unlike [`Targets`], takes a single word for a level only: a mistyped one would be the name
    /// of a target that nobody has, and silence everything.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(',').map(str::trim);
        if words.any(|word| !word.contains('=') && word.parse::<LevelFilter>().is_err()) {
            return Err(());
        }
        text.parse().map(Self).map_err(|_| ())
    }
}

/// Writes, when it is dropped, the lines that still wait.
#[must_use]
pub struct Logging(Lines);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Starts logging, and logs panics as well. Does nothing if the process logs already.
///
/// # Errors
/// If the system has no thread for it.
pub fn init(settings: &Settings) -> io::Result<Logging> {
    let lines = Lines::start()?;
    let layer = fmt::layer()
        .with_writer(lines.clone())
        .with_timer(Timestamp);
    let layer = match settings.format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    let filter = settings.filter.0.clone().and(only_ours_in_detail());
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        // Without the message: a panic quotes the text that it choked on.
        std::panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            tracing::error!(location, "panicked");
        }));
    }
    Ok(Logging(lines))
}

/// Below INFO, HTTP libraries print URLs, headers and bodies: the AppSecret, tokens, codes. So
/// nobody's details are logged but our own, whatever `RUST_LOG` asks for.
fn only_ours_in_detail() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("wxlogin", LevelFilter::TRACE)
}
