//! WeChat's side of a login: `jscode2session`, what it answers, and what its errcodes mean.
//!
//! Knows neither our sessions, nor our HTTP interface, nor the environment.

mod answer;
mod client;
mod error;
mod http;
mod js_code;
mod mini_program;
mod refusal;
mod transit;
mod user_data;

pub use answer::{CodeSession, SessionKey};
pub use client::{Client, Settings};
pub use error::{Errcode, Error, Invalid, Meaning};
pub use http::Proxies;
pub(crate) use http::is_on_this_machine;
pub use js_code::{JsCode, JsCodeError};
pub use mini_program::MiniProgram;
pub use refusal::{Refusal, Rid};
pub use user_data::{EncryptedData, Expected, is_signature};
