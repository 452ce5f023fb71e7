//! WeChat's errcodes: their meaning for each call, and the remedy that the operator is given.
//!
//! A new errcode also needs a row in docs/*/troubleshooting.md, and one of `jscode2session` in `LOGIN_OUTCOMES`
//! (`src/metrics/series.rs`); a new [`Meaning`] one in `refusal_row` (`src/api/problem/table.rs`).

/// A call of WeChat's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `GET /sns/jscode2session`: a login.
    CodeToSession,
    /// `POST /cgi-bin/stable_token`.
    StableToken,
    /// `POST /wxa/business/getuserphonenumber`.
    PhoneNumber,
    /// `GET /wxa/checksession`.
    CheckSession,
    /// A call of the backend that is passed through.
    PassedThrough,
}

/// WeChat's own error number, which can be any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errcode(pub i64);

/// What an [`Errcode`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The remedy when WeChat refuses an `access_token` that it has just given out.
pub(super) const ACCESS_TOKEN_REMEDY: &str = "WeChat gives out an access_token and refuses it: see whether another system forces new ones (force_refresh), and check WECHAT_API_BASE and any proxy on the way";

impl Call {
    /// All calls of our own.
    pub const ALL: [Self; 4] = [
        Self::CodeToSession,
        Self::StableToken,
        Self::PhoneNumber,
        Self::CheckSession,
    ];

    /// The last part of its path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CodeToSession => "jscode2session",
            Self::StableToken => "stable_token",
            Self::PhoneNumber => "getuserphonenumber",
            Self::CheckSession => "checksession",
            Self::PassedThrough => "passed_through",
        }
    }
}

impl Errcode {
    /// WeChat is busy.
    pub const BUSY: Self = Self(-1);
    /// The code was exchanged before.
    pub const CODE_USED: Self = Self(40163);
    /// The request came from an address that is not in the IP whitelist.
    pub const IP_NOT_LISTED: Self = Self(40164);
    /// The AppSecret is not the Mini Program's.
    pub const WRONG_SECRET: Self = Self(40125);
    /// The daily quota of calls is used up.
    pub const QUOTA_EXHAUSTED: Self = Self(45009);

    /// Its meaning for a call. Source: WeChat's documentation of the calls, and observation.
    #[must_use]
    pub fn meaning(self, call: Call) -> Meaning {
        use Call::{CheckSession, CodeToSession, PassedThrough, PhoneNumber};
        match (self.0, call) {
            (-1, _) => Meaning::Busy,
            (45009, _) => Meaning::QuotaExhausted,
            (45011, _) => Meaning::RateLimited,
            (40029 | 41029, CodeToSession) | (40029 | 40163, PhoneNumber) => Meaning::InvalidCode,
            (40163, CodeToSession) => Meaning::CodeUsed,
            (40226, CodeToSession | PhoneNumber) => Meaning::UserBlocked,
            (87009, CheckSession) => Meaning::StaleSessionKey,
            (40001 | 40014 | 42001, CheckSession | PassedThrough | PhoneNumber) => {
                Meaning::InvalidAccessToken
            }
            (40013, PhoneNumber) => Meaning::Misconfigured(
                "the phone code is of another Mini Program: compare the AppID that the backend names with the Mini Program's",
            ),
            (errcode, call) => remedy(errcode)
                .or_else(|| token_remedy(errcode).filter(|_| call != CodeToSession))
                .map_or(Meaning::Unknown, Meaning::Misconfigured),
        }
    }
}

/// The remedy for an errcode that only comes from calls with or for an `access_token`.
fn token_remedy(errcode: i64) -> Option<&'static str> {
    Some(match errcode {
        40014 | 42001 => ACCESS_TOKEN_REMEDY,
        40097 => {
            "API security (encryption or signatures) is switched on for this call: switch it off in the WeChat admin console"
        }
        41001 => {
            "WeChat did not get the request as it was sent: check WECHAT_API_BASE and any proxy on the way"
        }
        50004 => "this account may not use access_tokens: see the WeChat admin console",
        50007 => "the account is frozen: see the WeChat admin console",
        89503 => {
            "WeChat waits for an administrator of the account to confirm this server's IP address: confirm it in the WeChat app"
        }
        89506 | 89507 => {
            "an administrator of the account refused this server's IP address: WeChat refuses it for an hour (89507) or for 24 hours (89506); add it to the IP whitelist in the WeChat admin console"
        }
        _ => return None,
    })
}

/// The remedy for an errcode that can come from every call.
fn remedy(errcode: i64) -> Option<&'static str> {
    Some(match errcode {
        40013 => {
            "WeChat does not know this AppID: compare WECHAT_APPID with the one in the WeChat admin console"
        }
        40001 | 40125 => {
            "the AppSecret is wrong: it was reset or mistyped; set the one from the WeChat admin console as WECHAT_SECRET"
        }
        40164 => {
            "this server's IP address is not in the IP whitelist of the WeChat admin console: add it there"
        }
        40243 => "the AppSecret is frozen: unfreeze it in the WeChat admin console",
        48001 | 50002 => "the account is not verified or is limited: see the WeChat admin console",
        61003 => "the Mini Program has not authorised this third-party platform",
        40002 | 40066 | 41002 | 41004 | 41008 => {
            "WeChat did not get the request as it was sent: check WECHAT_API_BASE and any proxy on the way"
        }
        _ => return None,
    })
}
