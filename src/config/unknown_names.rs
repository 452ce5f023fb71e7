//! Names that look like settings of wxlogin and are none.

use super::reader::Reader;

/// Names with these prefixes are taken for settings of wxlogin.
const PREFIXES: [&str; 7] = [
    "WECHAT_",
    "SESSION_",
    "USERDATA_",
    "LISTEN_",
    "INTERNAL_",
    "METRICS_",
    "LOG_",
];
/// Names with these prefixes that other programs use: `SESSION_MANAGER` is X11's, the others are systemd's.
const FOREIGN_NAMES: [&str; 5] = [
    "SESSION_MANAGER",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
];

/// Warns of names with our prefixes that were not read.
pub(super) fn warn(reader: &mut Reader) {
    for name in reader.names_given() {
        let upper_case = name.to_ascii_uppercase();
        let ours = PREFIXES.iter().any(|prefix| upper_case.starts_with(prefix));
        let names_read = reader.names_read();
        if !ours || names_read.contains(&**name) || FOREIGN_NAMES.contains(&&**name) {
            continue;
        }
        let mut warning = format!("{name} is not a setting of wxlogin");
        if names_read.contains(&*upper_case) {
            warning = format!("{warning}, but {upper_case} is");
        }
        reader.warning(warning);
    }
}
