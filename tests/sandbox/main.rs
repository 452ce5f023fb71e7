//! `cargo sandbox`: wxlogin with both listeners, and a stand-in for WeChat with a page to look at,
//! in one process, with nothing to configure. Not in the release binary.
#![allow(clippy::unwrap_used, reason = "a sandbox may fail by panicking")]

mod clock;
mod controls;
mod detail;
mod developer;
#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "wechat.rs"]
mod fake_wechat;
mod guard;
mod introduction;
mod listeners;
mod logged_in;
mod options;
mod page;
mod proxy;
mod redaction;
mod requests;
mod service;
mod settings;
mod state;
mod to_wechat;

use std::process::ExitCode;

use axum::Router;
use axum::middleware::from_fn_with_state;
use fake_wechat::serve;
use guard::Hosts;
use listeners::local;
use options::{Openness, Options, USAGE};
use requests::To;
use settings::Settings;
use state::{Addresses, Sandbox};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wxlogin::telemetry;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let options = match Options::read(&arguments, |name| std::env::var(name).ok()) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let wanted = [options.page, options.public, options.internal];
    let ([page, public, internal], replaced) = match listeners::listen(wanted).await {
        Ok(listening) => listening,
        Err(error) => {
            eprintln!("sandbox: {error}");
            return ExitCode::FAILURE;
        }
    };
    let address = |listener: &TcpListener| local(listener.local_addr().unwrap());
    let addresses = Addresses {
        public: address(&public),
        internal: address(&internal),
        page: address(&page),
    };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let settings = match Settings::read(&addresses.base(), std::env::vars()) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("sandbox: {problems}");
            return ExitCode::from(USAGE);
        }
    };
    let _logging = telemetry::init(&settings.config().log);
    let sandbox = Sandbox::start(addresses, options.openness, settings);
    tokio::spawn(serve(page, page_and_wechat(&sandbox)));
    tokio::spawn(serve(
        internal,
        proxy::router(&sandbox, To::InternalListener),
    ));
    tokio::spawn(serve(public, proxy::router(&sandbox, To::PublicListener)));
    introduction::print(addresses, options.openness, &replaced);
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    ExitCode::SUCCESS
}

fn page_and_wechat(sandbox: &Sandbox) -> Router {
    let hosts = Hosts::of(sandbox.openness == Openness::Everything);
    let page = page::router().merge(controls::router());
    let both = page
        .with_state(sandbox.clone())
        .merge(to_wechat::router(sandbox));
    both.layer(from_fn_with_state(hosts, guard::own_host))
}
