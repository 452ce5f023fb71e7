//! WeChat's API: the calls, their answers, and the meanings of errcodes.
//!
//! Knows neither our sessions, nor our HTTP interface, nor the environment.

mod access_token;
mod answer;
mod check_session;
mod client;
mod code_to_session;
mod diagnosis;
mod errcode;
mod error;
mod http;
mod js_code;
mod lenient_decode;
mod mini_program;
mod phone_number;
mod refusal;
mod stable_token;
mod user_data;
mod with_token;

pub use access_token::{TokenCache, TokenClient};
pub use check_session::parse_check_session;
pub use client::{Client, Settings};
pub use code_to_session::{CodeSession, SessionKey};
pub(crate) use diagnosis::log_refusal;
use errcode::ACCESS_TOKEN_REMEDY;
pub use errcode::{Call, Errcode, Meaning};
pub use error::{Error, Invalid};
pub use http::Proxies;
pub(crate) use http::is_on_this_machine;
pub use js_code::{JsCode, JsCodeError};
pub use mini_program::MiniProgram;
pub use phone_number::PhoneNumber;
pub use refusal::{Refusal, Rid};
pub use stable_token::AccessToken;
pub use user_data::{EncryptedData, Expected, hmac_signature, is_signature};
pub use with_token::CallError;
