//! WeChat's errcodes: their meaning for each call, and the remedy that the operator is given.
//!
//! A new errcode is a row of [`MEANINGS`], and one in docs/*/troubleshooting.md; a new [`Meaning`] also needs one in
//! `refusal_row` (`src/problem/table.rs`).

use Call::{CheckSession, CodeToSession, PassedThrough, PhoneNumber, StableToken};
use Meaning::{
    Busy, CodeUsed, InvalidAccessToken, InvalidCode, Misconfigured, QuotaExhausted, RateLimited,
    StaleSessionKey, UserBlocked,
};

use super::Call;

/// The request came from an address that is not in the IP whitelist.
pub(super) const IP_NOT_LISTED: i64 = 40164;
/// The AppSecret is not the Mini Program's.
pub(super) const WRONG_SECRET: i64 = 40125;
/// The daily quota of calls is used up.
pub(super) const QUOTA_EXHAUSTED: i64 = 45009;

/// What an errcode means, WeChat's own error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning {
    /// WeChat does not know the code (any more), or it belongs to another Mini Program.
    InvalidCode,
    /// The code was exchanged before.
    CodeUsed,
    /// WeChat blocks this user as high-risk.
    UserBlocked,
    /// The `session_key` is not the user's newest.
    StaleSessionKey,
    /// Too many calls in this minute.
    RateLimited,
    /// The daily quota of calls is used up.
    QuotaExhausted,
    /// WeChat is busy.
    Busy,
    /// The `access_token` is expired or was invalidated: another one may be accepted.
    InvalidAccessToken,
    /// Only the operator can fix it; the text is the remedy.
    Misconfigured(&'static str),
    /// Not known here.
    Unknown,
}

impl Meaning {
    /// The meaning of an errcode, which can be any number, for a call.
    #[must_use]
    pub fn of(call: Call, errcode: i64) -> Self {
        let mut rows = MEANINGS.iter();
        let row =
            rows.find(|(errcodes, calls, _)| errcodes.contains(&errcode) && calls.contains(&call));
        row.map_or(Self::Unknown, |(.., meaning)| *meaning)
    }

    /// The outcome of a call, in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidCode => "invalid_code",
            Self::CodeUsed => "code_used",
            Self::UserBlocked => "user_blocked",
            Self::StaleSessionKey => "stale_session_key",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Busy => "upstream_busy",
            Self::InvalidAccessToken => "invalid_access_token",
            Self::Misconfigured(_) => "misconfigured",
            Self::Unknown => "upstream_error",
        }
    }
}

const ALL: &[Call] = &[
    CodeToSession,
    StableToken,
    PhoneNumber,
    CheckSession,
    PassedThrough,
];
/// Calls for an `access_token` or with one.
const OF_TOKEN: &[Call] = &[StableToken, PhoneNumber, CheckSession, PassedThrough];
const WITH_TOKEN: &[Call] = &[PhoneNumber, CheckSession, PassedThrough];

const NOT_AS_SENT: &str =
    "WeChat did not get the request as it was sent: check WECHAT_API_BASE and any proxy on the way";
/// The remedy when WeChat refuses an `access_token` that it has just given out.
pub(super) const ACCESS_TOKEN_REMEDY: &str = "WeChat gives out an access_token and refuses it: see whether another system forces new ones (force_refresh), and check WECHAT_API_BASE and any proxy on the way";
/// The remedy for [`QuotaExhausted`].
pub(super) const QUOTA_REMEDY: &str = "the Mini Program's daily quota is used up: raise it in the WeChat admin console, and look for junk codes";

/// The errcodes, the calls for which they have a meaning, and the meaning. The first row that fits counts.
///
/// Source: WeChat's documentation of the calls, and observation.
#[rustfmt::skip] // a table
pub(crate) const MEANINGS: &[(&[i64], &[Call], Meaning)] = &[
    (&[-1], ALL, Busy),
    (&[45009], ALL, QuotaExhausted),
    (&[45011], ALL, RateLimited),
    (&[40029, 41029], &[CodeToSession], InvalidCode),
    (&[40029, 40163], &[PhoneNumber], InvalidCode),
    (&[40163], &[CodeToSession], CodeUsed),
    (&[40226], &[CodeToSession, PhoneNumber], UserBlocked),
    (&[87009], &[CheckSession], StaleSessionKey),
    (&[40001, 40014, 42001], WITH_TOKEN, InvalidAccessToken),
    (&[40014, 42001], &[StableToken], Misconfigured(ACCESS_TOKEN_REMEDY)),
    (&[40013], &[PhoneNumber], Misconfigured(
        "the phone code is of another Mini Program: compare the AppID that the backend names with the Mini Program's")),
    (&[40013], ALL, Misconfigured(
        "WeChat does not know this AppID: compare WECHAT_APPID with the one in the WeChat admin console")),
    (&[40001, 40125], ALL, Misconfigured(
        "the AppSecret is wrong: it was reset or mistyped; set the one from the WeChat admin console in WECHAT_SECRET")),
    (&[40164], ALL, Misconfigured(
        "this server's IP address is not in the IP whitelist of the WeChat admin console: add it there")),
    (&[40243], ALL, Misconfigured(
        "the AppSecret is frozen: unfreeze it in the WeChat admin console")),
    (&[48001, 50002], ALL, Misconfigured(
        "the account is not verified or is limited: see the WeChat admin console")),
    (&[61003], ALL, Misconfigured(
        "the Mini Program has not authorised this third-party platform")),
    (&[40002, 40066, 41002, 41004, 41008], ALL, Misconfigured(NOT_AS_SENT)),
    (&[41001], OF_TOKEN, Misconfigured(NOT_AS_SENT)),
    (&[40097], OF_TOKEN, Misconfigured(
        "API security (encryption or signatures) is switched on for this call: switch it off in the WeChat admin console")),
    (&[50004], OF_TOKEN, Misconfigured(
        "this account may not use access_tokens: see the WeChat admin console")),
    (&[50007], OF_TOKEN, Misconfigured(
        "the account is frozen: see the WeChat admin console")),
    (&[89503], OF_TOKEN, Misconfigured(
        "WeChat waits for an administrator of the account to confirm this server's IP address: confirm it in the WeChat app")),
    (&[89506, 89507], OF_TOKEN, Misconfigured(
        "an administrator of the account refused this server's IP address: WeChat refuses it for an hour (89507) or for 24 hours (89506); add it to the IP whitelist in the WeChat admin console")),
];
