//! A wxlogin whose disk fails, hangs or loses power: `disk_faults.c` is preloaded into it and intercepts its
//! calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::support::process::{Process, command};

static SHIM: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/disk_faults.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("disk_faults.so");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]);
    // Renamed when it is complete: another run of the tests may use it.
    let unfinished = library.with_extension(std::process::id().to_string());
    let status = cc.arg("-o").arg(&unfinished).arg(source).status();
    assert!(status.expect("cc: tests/run.sh installs it").success());
    fs::rename(unfinished, &library).unwrap();
    library
});

/// Makes each fault's line unique, so that its calls are counted from 0.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// The disk of one service: its working directory, and beside it the control files of the disk.
pub struct Disk {
    temp: tempfile::TempDir,
    is_recorded: bool,
}

impl Disk {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("disk")).unwrap();
        Self {
            temp,
            is_recorded: false,
        }
    }

    /// With a journal of all writes, for [`crate::support::power_cut`].
    pub fn recorded() -> Self {
        let mut disk = Self::new();
        disk.is_recorded = true;
        disk
    }

    /// The working directory of the service.
    pub fn dir(&self) -> PathBuf {
        self.temp.path().join("disk")
    }

    pub fn journal(&self) -> PathBuf {
        self.temp.path().join("journal")
    }

    /// While this file is there, the wall clock of the service is ten years ahead.
    pub fn clock(&self) -> PathBuf {
        self.temp.path().join("clock")
    }

    fn control(&self) -> PathBuf {
        self.temp.path().join("control")
    }

    /// The binary on this disk, not yet started.
    pub fn command(&self, settings: &BTreeMap<String, String>) -> Command {
        let mut command = command(&self.dir(), settings);
        command
            .env("LD_PRELOAD", &*SHIM)
            .env("SHIM_DIR", self.dir())
            .env("SHIM_CONTROL", self.control())
            .env("SHIM_CLOCK", self.clock());
        if self.is_recorded {
            command.env("SHIM_JOURNAL", self.journal());
        }
        command
    }

    pub fn start(&self, settings: &BTreeMap<String, String>) -> Process {
        Process::of(&mut self.command(settings))
    }

    /// Lets each call of this kind fail in this way from now on: both are words of `disk_faults.c`.
    pub fn fault(&self, kind: &str, fault: &str) {
        self.set(kind, fault, 0, u16::MAX);
    }

    /// Lets one call of this kind fail in this way, after `skip` that succeed.
    pub fn fault_once(&self, kind: &str, fault: &str, skip: u16) {
        self.set(kind, fault, skip, 1);
    }

    fn set(&self, kind: &str, fault: &str, skip: u16, count: u16) {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let line = format!("{kind} {fault} {skip} {count} {serial}\n");
        let written = self.temp.path().join("control.new");
        fs::write(&written, line).unwrap();
        fs::rename(written, self.control()).unwrap();
    }

    /// How many calls have failed or hung.
    pub fn hits(&self) -> u64 {
        fs::metadata(self.temp.path().join("control.hits")).map_or(0, |file| file.len())
    }

    /// Waits until further calls have failed or hung.
    pub async fn await_hits(&self, before: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.hits() <= before {
            assert!(Instant::now() < deadline, "no call has the fault");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the fault. Calls that hang continue.
    pub fn mend(&self) {
        fs::remove_file(self.control()).unwrap();
    }
}
