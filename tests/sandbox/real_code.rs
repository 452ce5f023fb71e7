//! Codes as a real `wx.login` gives them. They say nothing of the user: the sandbox does.

use super::users::{name_in_code, name_of};

/// Who logs in with them, unless a rule or the URL says another: the developer in DevTools.
pub const DEVELOPER: &str = "devtools";
/// What DevTools gives to a project without an AppID.
const MOCK: &str = "the code is a mock one";

/// The developer of such a code. `0a1b…@li` is one that came in at the address of the developer li.
pub fn developer(code: &str) -> Option<String> {
    let (code, developer) = code.split_once('@').unwrap_or((code, DEVELOPER));
    is_like_wechats(code).then(|| name_of(developer))
}

/// What the stand-in gets for a code in a request to wxlogin: with the developer whose address it came in at,
/// and a code of its own for the mock one. `None` if it is the same code.
pub fn at_address_of(developer: Option<&str>, code: &str) -> Option<String> {
    let suffix = developer.map_or_else(String::new, |name| format!("@{}", name_in_code(name)));
    if code == MOCK {
        let random = std::iter::repeat_with(fastrand::alphanumeric);
        return Some(random.take(32).collect::<String>() + &suffix);
    }
    (is_like_wechats(code) && !suffix.is_empty()).then(|| format!("{code}{suffix}"))
}

fn is_like_wechats(code: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    code.len() == 32 && code.bytes().all(allowed)
}
