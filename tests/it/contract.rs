//! What HTTP clients see: the routes of both listeners, WeChat on the other side, and no secret anywhere.

mod access_token;
mod apps;
mod backend;
mod bodies;
mod canary;
mod embedding;
mod erasure;
mod failures;
mod hosts;
mod login;
mod metrics;
mod model;
mod once;
mod openapi;
mod overload;
mod pass_through;
mod phone;
mod properties;
mod proxies;
mod session;
mod tls;
mod upstream;
mod user_data;
