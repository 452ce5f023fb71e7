//! What the process needs of the system, tried at the start: libraries panic where they do not get it.

use std::io::{self, ErrorKind};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Descriptors for the store, the log and the internal listener, and for each core those of its runtime and its
/// reading connections.
const DESCRIPTORS: usize = 48;
const DESCRIPTORS_OF_A_CORE: usize = 12;
/// Threads beside the two of each core: of the store, the log, the allocator, the resolver, the internal listener.
const THREADS: usize = 8;
/// The usual stack of a thread of a C library, in bytes. It takes address space, not memory.
const STACK: usize = 8 * 1024 * 1024;
/// Bytes of address space: with less, whether memory suffices is a matter of chance.
const ADDRESS_SPACE: u64 = 512 << 20;
/// Half of the time after which tokio ends an idle thread.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Raises the limit of open files, and tries whether there are descriptors and threads enough.
///
/// # Errors
/// What is missing, for the operator to read.
pub fn try_resources() -> Result<(), String> {
    let cores = available_parallelism().map_or(1, usize::from);
    let needed = DESCRIPTORS + DESCRIPTORS_OF_A_CORE * cores;
    let limit = open_files();
    if limit < needed {
        return Err(format!(
            "the limit of open files is {limit}, and at least {needed} are needed: raise it (ulimit -n, LimitNOFILE of systemd)"
        ));
    }
    let space = rlimit::Resource::AS
        .get()
        .map_or(u64::MAX, |(soft, _)| soft);
    if space < ADDRESS_SPACE {
        return Err(format!(
            "the limit of address space is {space} bytes, and at least {ADDRESS_SPACE} are needed: raise it (ulimit -v, LimitAS of systemd)"
        ));
    }
    let count = THREADS + 2 * cores;
    try_threads(count).map_err(|error| {
        let cause = match error.kind() {
            ErrorKind::PermissionDenied => {
                "container engines before Docker 20.10.10 forbid clone3: update the engine or its seccomp profile"
            }
            _ => {
                "raise the limit of processes or threads (ulimit -u, TasksMax of systemd, pids.max) or of memory (ulimit -v)"
            }
        };
        format!("cannot start {count} threads: {error}: {cause}")
    })
}

/// How many public connections there may be: half of the descriptors that the process does not need itself. The
/// other half is for connections to WeChat, so that the internal listener and the store always have theirs.
pub(super) fn max_connections() -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    let own = DESCRIPTORS + DESCRIPTORS_OF_A_CORE * cores;
    let others = open_files().saturating_sub(own) / 2;
    others.clamp(1, Semaphore::MAX_PERMITS)
}

/// A runtime for the calling thread.
///
/// # Errors
/// For the operator to read.
pub fn runtime() -> Result<Runtime, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))
}

/// Keeps a thread that may block: tokio panics if it has none when it needs one and the system has no thread left.
pub(super) async fn keep_a_thread() {
    while spawn_blocking(|| ()).await.is_ok() {
        sleep(KEEP_ALIVE).await;
    }
}

/// The soft limit of open files, raised to the hard one.
fn open_files() -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX)
        .or_else(|_| rlimit::Resource::NOFILE.get().map(|(soft, _)| soft));
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Starts so many threads at once, and ends them.
fn try_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        for _ in 0..count {
            let wait = || drop(gate.lock());
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, wait)?;
        }
        Ok(())
    })
}
