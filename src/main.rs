//! The binary: settings in, exit status out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wxlogin::app::App;
use wxlogin::clock::Clock;
use wxlogin::config::Config;
use wxlogin::server::{Server, Timeouts};
use wxlogin::telemetry;

/// A login is some dozens of small allocations: with the system's allocator it costs a tenth more. And
/// on Linux this one has a thread that gives back to the system what a burst of logins has left behind.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const HELP: &str = "\
wxlogin - the login service for WeChat Mini Programs

Usage: wxlogin [check | healthcheck | --help | --version]

Serves until SIGTERM or SIGINT. With check, asks WeChat once about each Mini Program, with a code that
cannot be one, and says whether AppID, AppSecret, IP whitelist and network are right. With healthcheck,
asks the wxlogin that runs with the same settings whether it answers. All settings come from the
environment and a .env file in the working directory; WECHAT_APPID and WECHAT_SECRET, or WECHAT_APPS,
are required. The README lists all of them.

Exit status: 0 stopped by a signal, or all is well; 1 could not start or run, or something is not
well; 2 wrong settings or arguments.
";

/// Wrong settings or arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => config().map_or_else(|status| status, serve),
        [word] if word == "check" => config().map_or_else(|status| status, check),
        // Containers know 0 and 1 alone.
        [word] if word == "healthcheck" => {
            config().map_or(ExitCode::FAILURE, |config| healthcheck(config.listen_addr))
        }
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

/// The settings, or the exit status after telling what is wrong with them.
fn config() -> Result<Config, ExitCode> {
    Config::load(Path::new(".")).map_err(|problems| refuse(&problems))
}

#[tokio::main(flavor = "current_thread")]
async fn check(config: Config) -> ExitCode {
    match wxlogin::check::check(config).await {
        Ok(report) => {
            print!("{report}");
            if report.is_good() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => fail(&error),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn healthcheck(addr: SocketAddr) -> ExitCode {
    match wxlogin::check::health(addr).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn serve(config: Config) -> ExitCode {
    let _logging = match telemetry::init(&config.log) {
        Ok(logging) => logging,
        Err(error) => return fail(&format_args!("cannot start logging: {error}")),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        // Whatever RUST_LOG says: without this line nobody knows why.
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("wxlogin: {error}");
    ExitCode::FAILURE
}

fn refuse(problems: &dyn std::fmt::Display) -> ExitCode {
    for line in problems.to_string().lines() {
        eprintln!("wxlogin: {line}");
    }
    ExitCode::from(USAGE)
}

/// This thread serves as one of several, see [`Server::run_on_every_core`].
#[tokio::main(flavor = "current_thread")]
async fn run(config: Config) -> Result<(), String> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let (mut term, mut int) = signal(SignalKind::terminate())
        .and_then(|term| Ok((term, signal(SignalKind::interrupt())?)))
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    // Before the store, which would have to be closed again if the address is taken.
    let listener = listen(config.listen_addr).await?;
    let metrics = match config.metrics_addr {
        Some(addr) => Some(listen(addr).await?),
        None => None,
    };
    let app = App::open(config, Clock::system()).map_err(|error| error.to_string())?;
    match app.sessions.check().await {
        Ok(()) => {
            for warning in app.sessions.warnings().await {
                tracing::warn!("{warning}");
            }
        }
        Err(error) => tracing::warn!(%error, "logins fail until the session store answers"),
    }
    let mut server = Server::new(listener, app, Timeouts::default());
    let addr = server.local_addr().map_err(|error| error.to_string())?;
    if let Some(metrics) = metrics {
        let addr = metrics.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(metrics_addr = %addr, "serving metrics");
        server = server.with_metrics(metrics);
    }
    tracing::info!(%addr, "listening");
    server
        .run_on_every_core(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("stopping");
        })
        .await
        .map_err(|error| format!("cannot use every core: {error}"))
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(addr).await;
    listener.map_err(|error| format!("cannot listen on {addr}: {error}"))
}
