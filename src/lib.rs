//! The login service for WeChat Mini Programs, as routes for your own Axum app.
//!
//! A Mini Program calls `wx.login()` and sends the code that it gets to `GET /onLogin?code=CODE`. The code
//! is exchanged at WeChat's `jscode2session` once, however many requests there are; the answer is openid,
//! unionid and a session token. WeChat's `session_key` stays on the server, encrypted.
//!
//! ```no_run
//! use axum::extract::{FromRef, State};
//! use axum::{Router, routing::get};
//! use wxlogin::{SignedIn, WxLogin};
//!
//! #[derive(Clone)]
//! struct AppState {
//!     wxlogin: WxLogin,
//!     shop: String, // the rest of your app
//! }
//!
//! impl FromRef<AppState> for WxLogin {
//!     fn from_ref(state: &AppState) -> Self {
//!         state.wxlogin.clone()
//!     }
//! }
//!
//! // Runs only for requests with `Authorization: Bearer TOKEN` of a valid session.
//! async fn orders(SignedIn(user): SignedIn, State(app): State<AppState>) -> String {
//!     format!("orders of {} at {}", user.openid, app.shop)
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let wxlogin = WxLogin::from_env()?; // WECHAT_APPID, WECHAT_SECRET, … from the environment or .env
//! let app = Router::new()
//!     .route("/api/orders", get(orders))
//!     .merge(wxlogin.routes()) // /onLogin, /session, /session/decrypt, /session/verify
//!     .with_state(AppState { wxlogin, shop: "Tea".into() });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A host that answers in its own form calls [`WxLogin::log_in`], [`WxLogin::session`], [`WxLogin::decrypt`],
//! [`WxLogin::verify`] and [`WxLogin::end`] instead of the routes. Their error is a [`Problem`] too, which has code,
//! status and action.
//!
//! Failures of the routes and of [`SignedIn`] are `application/problem+json` documents ([`Problem`]). A layer
//! on wxlogin's own routes sets `X-Request-Id` (keeping a valid one) and `Cache-Control: no-store`, logs and
//! counts. The host's other routes and its 404s are not changed; layers that it adds after `merge` are around
//! wxlogin's routes too. Call [`WxLogin::close`] when the host stops.
//!
//! Keep the host's log at INFO for `reqwest`, `hyper` and `h2`: below it they log URLs, and the URLs of WeChat's
//! API contain the AppSecret.
//!
//! What a client must not do is a function for the host's own code: [`WxLogin::phone_number`], [`WxLogin::sign`],
//! [`WxLogin::check_session`], [`WxLogin::access_token`], [`WxLogin::sessions`] and [`WxLogin::end_all`].
//!
//! # Tests of a host
//!
//! They need neither Redis nor a network: sessions are in memory, and WeChat's place is taken by the sandbox of
//! this repository (`cargo sandbox`) or by any HTTP server that answers `GET /sns/jscode2session`.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use wxlogin::{Config, WxLogin};
//!
//! let config = Config::new("wx0123456789abcdef", "0123456789abcdef0123456789abcdef")?
//!     .with_session_store("memory:")?
//!     .with_wechat_api_base("http://127.0.0.1:3001")?;
//! let wxlogin = WxLogin::new(config)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! All are on by default, and a host leaves them out (`default-features = false`): without them sessions are in
//! memory or in Redis.
//!
//! - `file-store`: sessions in files, by SQLite (bundled). A host that links another version of SQLite (sqlx,
//!   diesel) cannot have it.
//! - `process-metrics`: CPU, memory and files of the process among the metrics.
//! - `server`: the code that only the `wxlogin` binary needs.
//! - `jemalloc`: the allocator of the binary.

mod api;
mod app;
mod backend;
mod login;
mod problem;
mod user_data;

// Hidden: for the binary and the tests of this crate. They may change at any time.
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod one_time_codes;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod wechat;

#[cfg(feature = "server")]
#[doc(hidden)]
pub mod check;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod telemetry;

pub use api::SignedIn;
#[cfg(feature = "server")]
#[doc(hidden)]
pub use api::is_path_segment;
pub use app::{StartError, WxLogin};
pub use config::{Config, Problems};
pub use login::{LoggedIn, LoginOrigin};
pub use problem::{Action, Problem, Purpose};
pub use session::{OpenError, Session, Token, Unavailable};
pub use wechat::{AccessToken, Call, Error as WechatError, Invalid, Meaning, PhoneNumber, Refusal};
