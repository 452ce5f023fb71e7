//! The binary: reads the settings, runs a command, and returns its exit status.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use listenfd::ListenFd;
use tokio::task::spawn_blocking;
use wxlogin::config::ServerConfig;
use wxlogin::server::{self, Drained, Server, Signals, Timeouts};
use wxlogin::{WxLogin, telemetry};

/// With the system's allocator a login costs a tenth more CPU. On Linux a background thread of this one also
/// returns memory to the system after a burst of logins.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = include_str!("help.txt");

/// Could not start or run, or a check failed.
const FAILURE: u8 = 1;
/// Wrong settings or arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str()).collect();
    match words.as_slice() {
        [] => with_config(serve),
        [Some("check")] => with_config(|config| check(config, false)),
        [Some("check"), Some("--token")] => with_config(|config| check(config, true)),
        // Container health checks use exit status 0 and 1 only.
        [Some("healthcheck")] => {
            config().map_or(ExitCode::FAILURE, |config| healthcheck(config.listen_addr))
        }
        [Some("--help" | "-h")] => print(stdout(), HELP, 0),
        [Some("--version" | "-V")] => {
            let version = concat!("wxlogin ", env!("CARGO_PKG_VERSION"), "\n");
            print(stdout(), version, 0)
        }
        _ => {
            let text = format!("wxlogin: these arguments are not known\n\n{HELP}");
            print(stderr(), &text, USAGE)
        }
    }
}

fn with_config(run: impl FnOnce(ServerConfig) -> ExitCode) -> ExitCode {
    let resources = server::try_resources().map_err(|error| fail(FAILURE, &error));
    let config = resources.and_then(|()| config());
    config.map_or_else(|status| status, run)
}

/// The settings, or the exit status after printing their problems.
fn config() -> Result<ServerConfig, ExitCode> {
    ServerConfig::load(Path::new(".")).map_err(|problems| fail(USAGE, &problems))
}

fn check(config: ServerConfig, with_token: bool) -> ExitCode {
    let check = wxlogin::check::check(config, with_token);
    match server::runtime().and_then(|runtime| runtime.block_on(check)) {
        Ok(report) => {
            let status = if report.is_good { 0 } else { FAILURE };
            print(stdout(), &report.text, status)
        }
        Err(error) => fail(FAILURE, &error),
    }
}

fn healthcheck(addr: SocketAddr) -> ExitCode {
    let answered = server::runtime().and_then(|it| it.block_on(wxlogin::check::health(addr)));
    answered.map_or_else(|error| fail(FAILURE, &error), |()| ExitCode::SUCCESS)
}

fn serve(config: ServerConfig) -> ExitCode {
    // Takes the variables of systemd from the environment, so there must be no other thread yet.
    let passed = ListenFd::from_env();
    return_memory();
    let logging = telemetry::init(&config.log);
    for warning in &config.service.warnings {
        tracing::warn!("{warning}");
    }
    match run(config, passed) {
        Ok(Drained::Complete) => ExitCode::SUCCESS,
        Ok(Drained::Unanswered) => {
            tracing::warn!("stopped with requests unanswered: they took too long");
            ExitCode::FAILURE
        }
        Err(error) => {
            logging.print(&format!("wxlogin: {error}"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Prints what is wrong, a line or several.
fn fail(status: u8, problems: &dyn Display) -> ExitCode {
    let problems = problems.to_string();
    let lines = problems.lines().map(|line| format!("wxlogin: {line}\n"));
    print(stderr(), &lines.collect::<String>(), status)
}

/// Prints, and returns `status`, or a failure status if the text cannot be written.
fn print(mut out: impl Write, text: &str, status: u8) -> ExitCode {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::from(if written.is_ok() {
        status
    } else {
        status.max(FAILURE)
    })
}

/// Starts the allocator's thread that returns memory to the system after a burst of logins. Not earlier, because
/// without threads enough it prints a line at each allocation, and one only, because it would try to start others
/// without a pause.
fn return_memory() {
    #[cfg(all(feature = "jemalloc", target_os = "linux", not(target_env = "musl")))]
    // Without it, memory is returned later.
    let _ = tikv_jemalloc_ctl::max_background_threads::write(1)
        .and_then(|()| tikv_jemalloc_ctl::background_thread::write(true));
}

fn run(config: ServerConfig, passed: ListenFd) -> Result<Drained, Box<dyn Error>> {
    let runtime = server::runtime()?;
    let drained = runtime.block_on(serve_until_stopped(config, passed));
    // Not dropped: a drop would wait for a hanging DNS resolver.
    runtime.shutdown_background();
    drained
}

/// Serves until a signal stops it. This thread only waits: see [`Server::run`].
async fn serve_until_stopped(
    config: ServerConfig,
    passed: ListenFd,
) -> Result<Drained, Box<dyn Error>> {
    let signals =
        Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let mut stop = pin!(async {
        let signal = signals.stop().await;
        tracing::info!(signal, "stopping");
    });
    // Before the session store, so that nothing has to be closed if an address is in use.
    let (public, internal) =
        server::listen_or_take(passed, config.listen_addr, config.internal_addr)?;
    // With the port that the system chose for port 0.
    let addr = public.local_addr()?;
    let internal_addr = internal.as_ref().map(TcpListener::local_addr).transpose()?;
    let store = config.service.sessions.url.to_string();
    let mini_programs = config.service.appids();
    // In a thread that may block: the disk can hang, and this thread waits for signals.
    let opened = spawn_blocking(|| WxLogin::new(config.service));
    let wxlogin = tokio::select! {
        opened = opened => opened.map_err(|_| "the session store could not be opened")??,
        () = &mut stop => return Ok(Drained::Complete),
    };
    let server = Server {
        wxlogin: wxlogin.clone(),
        public,
        internal: internal.map(|listener| (listener, config.internal)),
        timeouts: Timeouts::default(),
    };
    tokio::spawn(async move {
        match wxlogin.ready().await {
            Ok(()) => {
                for warning in wxlogin.store_warnings().await {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) => tracing::warn!(%error, "logins fail until the session store answers"),
        }
    });
    let started = || {
        let internal_addr = internal_addr.map(tracing::field::display);
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(%addr, internal_addr, version, store, mini_programs, "listening");
    };
    let drained = server.run(started, stop).await;
    Ok(drained.map_err(|error| format!("cannot serve: {error}"))?)
}
