//! The binary: settings in, exit status out.

use std::io::{Write, stderr, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tikv_jemallocator::Jemalloc;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wxlogin::config::ServerConfig;
use wxlogin::server::{Drained, Server, Signals, Timeouts, Watchdog};
use wxlogin::{Config, WxLogin, telemetry};

/// A login is some dozens of small allocations: with the system's allocator it costs a tenth more. And
/// on Linux this one has a thread that gives back to the system what a burst of logins has left behind.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const HELP: &str = include_str!("help.txt");

/// Could not start or run, or a check failed.
const FAILURE: u8 = 1;
/// Counted from the signal: [`Timeouts::drain`], half a second for the session store, and the log's lines.
const STOP_DEADLINE: Duration = Duration::from_millis(10_900);
/// Wrong settings or arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => config().map_or_else(|status| status, serve),
        [word] if word == "check" => {
            config().map_or_else(|status| status, |config| check(config, false))
        }
        [word, option] if word == "check" && option == "--token" => {
            config().map_or_else(|status| status, |config| check(config, true))
        }
        // Containers know 0 and 1 alone.
        [word] if word == "healthcheck" => {
            config().map_or(ExitCode::FAILURE, |config| healthcheck(config.listen_addr))
        }
        [word] if word == "--help" || word == "-h" => print(stdout(), HELP, 0),
        [word] if word == "--version" || word == "-V" => {
            let version = concat!("wxlogin ", env!("CARGO_PKG_VERSION"), "\n");
            print(stdout(), version, 0)
        }
        _ => {
            let text = format!("wxlogin: these arguments are not known\n\n{HELP}");
            print(stderr(), &text, USAGE)
        }
    }
}

/// The settings, or the exit status after telling what is wrong with them.
fn config() -> Result<ServerConfig, ExitCode> {
    ServerConfig::load(Path::new(".")).map_err(|problems| refuse(&problems))
}

#[tokio::main(flavor = "current_thread")]
async fn check(config: ServerConfig, with_token: bool) -> ExitCode {
    match wxlogin::check::check(config.service, with_token).await {
        Ok(report) => {
            let status = if report.is_good() { 0 } else { FAILURE };
            print(stdout(), &report.to_string(), status)
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

fn serve(config: ServerConfig) -> ExitCode {
    let logging = match telemetry::init(&config.log) {
        Ok(logging) => logging,
        Err(error) => return fail(&format_args!("cannot start logging: {error}")),
    };
    for warning in &config.service.warnings {
        tracing::warn!("{warning}");
    }
    match run(config) {
        Ok(Drained::Complete) => ExitCode::SUCCESS,
        Ok(Drained::Unanswered) => {
            tracing::warn!("stopped with requests unanswered: they took too long");
            ExitCode::FAILURE
        }
        Err(error) => {
            logging.print(&format!("wxlogin: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    print(stderr(), &format!("wxlogin: {error}\n"), FAILURE)
}

fn refuse(problems: &dyn std::fmt::Display) -> ExitCode {
    let problems = problems.to_string();
    let lines = problems.lines().map(|line| format!("wxlogin: {line}\n"));
    print(stderr(), &lines.collect::<String>(), USAGE)
}

/// Prints, and returns `status`, or a failure if the text could not be written.
fn print(mut out: impl Write, text: &str, status: u8) -> ExitCode {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::from(if written.is_ok() {
        status
    } else {
        status.max(FAILURE)
    })
}

fn run(config: ServerConfig) -> Result<Drained, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let drained = runtime.block_on(serve_until_stopped(config));
    // Not dropped: that would wait for a resolver that hangs.
    runtime.shutdown_background();
    drained
}

/// Serves until a signal stops it. This thread only waits: see [`Server::run_on_every_core`].
async fn serve_until_stopped(config: ServerConfig) -> Result<Drained, String> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let watchdog = Watchdog::start(STOP_DEADLINE, FAILURE)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let signals =
        Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    // Before the session store, which would have to be closed again if an address is taken.
    let listener = listen(config.listen_addr).await?;
    let internal = match config.internal_addr {
        Some(addr) => Some(listen(addr).await?),
        None => None,
    };
    let addr = address(&listener)?;
    let internal_addr = internal.as_ref().map(address).transpose()?;
    let (store, mini_programs) = (
        config.service.sessions.url.to_string(),
        config.service.appids(),
    );
    let stop = async {
        let signal = signals.stop().await;
        tracing::info!(signal, "stopping");
        watchdog.begin();
    };
    let mut stop = pin!(stop);
    let wxlogin = tokio::select! {
        opened = open(config.service) => opened?,
        () = &mut stop => return Ok(Drained::Complete),
    };
    let mut server = Server::new(listener, wxlogin.clone(), Timeouts::default())
        .map_err(|error| error.to_string())?;
    if let Some(internal) = internal {
        server = server
            .with_internal(internal, config.internal_door)
            .map_err(|error| error.to_string())?;
    }
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
    let drained = server.run_on_every_core(started, stop).await;
    drained.map_err(|error| error.to_string())
}

/// Opens the session store in a thread of its own: a disk can hang, and this one waits for signals.
async fn open(config: Config) -> Result<WxLogin, String> {
    let (opened, result) = oneshot::channel();
    let runtime = Handle::current();
    let open = move || {
        // Connections to Redis live in this runtime.
        let _runtime = runtime.enter();
        // Nobody waits any more after a signal.
        let _ = opened.send(WxLogin::new(config));
    };
    let thread = thread::Builder::new().name("open".into()).spawn(open);
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    let result = result.await;
    let result = result.map_err(|_| "the session store could not be opened")?;
    result.map_err(|error| error.to_string())
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(addr).await;
    listener.map_err(|error| format!("cannot listen on {addr}: {error}"))
}

/// With the port that the system chose for port 0.
fn address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| error.to_string())
}
