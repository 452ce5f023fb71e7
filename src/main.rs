//! The binary: settings in, exit status out.

use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wxlogin::app::App;
use wxlogin::clock::Clock;
use wxlogin::config::{self, Config};
use wxlogin::server::{Patience, Server};
use wxlogin::telemetry;

const HELP: &str = "\
wxlogin - the login service for WeChat Mini Programs

Usage: wxlogin [--help | --version]

Serves until SIGTERM or SIGINT. All settings come from the environment and a .env file in the
working directory; WECHAT_APPID and WECHAT_SECRET are required. The README lists all of them.

Exit status: 0 stopped by a signal, 1 could not start or run, 2 wrong settings or arguments.
";

/// Wrong settings or arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => serve(),
        [word] if word == "--help" || word == "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        [word] if word == "--version" || word == "-V" => {
            println!("wxlogin {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("wxlogin: these arguments are not known\n\n{HELP}");
            ExitCode::from(USAGE)
        }
    }
}

fn serve() -> ExitCode {
    let config = match config::load(Path::new(".")).map(|vars| Config::from_vars(&vars)) {
        Ok(Ok(config)) => config,
        Ok(Err(problems)) => return refuse(&problems),
        Err(error) => return refuse(&error),
    };
    telemetry::init(&config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whatever RUST_LOG says: without this line nobody knows why.
            eprintln!("wxlogin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(problems: &dyn std::fmt::Display) -> ExitCode {
    for line in problems.to_string().lines() {
        eprintln!("wxlogin: {line}");
    }
    ExitCode::from(USAGE)
}

#[tokio::main]
async fn run(config: Config) -> Result<(), String> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let (mut term, mut int) = signal(SignalKind::terminate())
        .and_then(|term| Ok((term, signal(SignalKind::interrupt())?)))
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    // Before the store, which would have to be closed again if the address is taken.
    let listener = TcpListener::bind(config.listen_addr)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen_addr))?;
    let app = App::open(config, Clock::system()).map_err(|error| error.to_string())?;
    if let Err(error) = app.sessions.check().await {
        tracing::warn!(%error, "logins fail until the session store answers");
    }
    let server = Server::new(listener, app, Patience::default());
    let addr = server.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(%addr, "listening");
    server
        .run(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("stopping");
        })
        .await;
    Ok(())
}
