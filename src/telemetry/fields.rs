//! The fields of a log line as text, `message name="text" other=1`, as they are written by default but
//! faster: there, every text is searched letter by letter for what must be escaped.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            is_empty: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn by_default(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        if self.result.is_ok() {
            let mut default = DefaultVisitor::new(self.writer.by_ref(), self.is_empty);
            record(&mut default);
            self.result = default.finish();
            self.is_empty = false;
        }
    }

    fn write_plain(&mut self, name: &str, text: &str) -> fmt::Result {
        self.writer
            .write_str(if self.is_empty { "" } else { " " })?;
        self.writer.write_str(name)?;
        self.writer.write_str("=\"")?;
        self.writer.write_str(text)?;
        self.writer.write_str("\"")
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "message" || !text.bytes().all(is_plain) {
            self.by_default(|default| default.record_str(field, text));
        } else if self.result.is_ok() {
            self.result = self.write_plain(field.name(), text);
            self.is_empty = false;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.by_default(|default| default.record_debug(field, value));
    }
}

/// Whether a byte stands for itself between quotation marks.
fn is_plain(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\'
}
