//! WeChat's API: the calls, their answers, and the meanings of errcodes.
//!
//! Knows neither our sessions, nor our HTTP interface, nor the environment.

mod access_token;
mod check_session;
mod client;
mod code_to_session;
mod errcode;
mod error;
mod http;
mod http_client;
mod pass_through;
mod phone_number;
mod refusal;
mod stable_token;
mod user_data;

pub use client::{Client, MiniProgram, Observer};
pub(crate) use client::{QUOTA_PAUSE, SLOT_TIMEOUT};
pub use code_to_session::CodeSession;
use errcode::ACCESS_TOKEN_REMEDY;
pub(crate) use errcode::MEANINGS;
pub use errcode::Meaning;
pub use error::{Error, Invalid};
pub use http::Call;
pub(crate) use http_client::is_on_this_machine;
pub use http_client::{Proxies, Settings};
pub(crate) use pass_through::may_be_sent;
#[cfg(feature = "server")]
pub(crate) use pass_through::parse_path;
pub use phone_number::PhoneNumber;
pub use refusal::Refusal;
pub(crate) use refusal::log_refused_code;
pub use stable_token::AccessToken;
pub use user_data::{EncryptedData, Expected, hmac_signature, is_signature};
