//! The real binary as a process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::client::Client;

/// Sends a signal.
pub fn kill(name: &str, id: u32) {
    let kill = format!("kill -s {name} {id}");
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}

/// Copies the binary into a directory. A program of its own does it: what this process has open for writing, a child
/// that another test starts at that moment has too, and nobody can run a file that is open for writing.
pub fn copy_binary(to: &Path) {
    let binary = env!("CARGO_BIN_EXE_wxlogin");
    let status = Command::new("cp").arg(binary).arg(to).status().unwrap();
    assert!(status.success());
}

/// A running `wxlogin`, killed when it is dropped.
pub struct Process {
    pub client: Client,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts it in `dir` with nothing in its environment but these settings and a free port, and
    /// waits until it listens.
    pub fn start(dir: &Path, settings: &BTreeMap<String, String>) -> Self {
        let mut command = command(dir, settings);
        Self::of(&mut command)
    }

    /// The same for a prepared command.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let addr = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("{}", log.lock().unwrap()))
                .unwrap();
            log.lock().unwrap().extend([&line, "\n"]);
            if let Some(addr) = listening(&line) {
                break addr;
            }
        };
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in lines {
                    log.lock().unwrap().extend([&line.unwrap(), "\n"]);
                }
            }
        });
        Self {
            client: Client::new(addr),
            child,
            log,
            reader: Some(reader),
        }
    }

    /// A client for its internal listener, which `INTERNAL_ADDR` asked for.
    pub fn internal(&self) -> Client {
        let log = self.log.lock().unwrap();
        let (_, addr) = log.split_once("internal_addr").unwrap();
        let addr = addr.trim_start_matches(['"', '=', ':']);
        let end = addr.find(['"', ' ', '\n']).unwrap();
        Client::new(addr[..end].trim().parse().unwrap())
    }

    pub fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its log that have been read.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for its end, so long at most; returns the exit status, if there is one in time.
    pub async fn exit_within(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Waits for its end; returns the exit status, if there is one, and the log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.log.lock().unwrap().clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let (_, addr) = line
        .split_once("listening addr=")
        .or_else(|| line.split_once(r#""addr":""#))?;
    let end = addr.find([' ', '"']).unwrap_or(addr.len());
    addr[..end].parse().ok()
}

pub fn command(dir: &Path, settings: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wxlogin"));
    command
        .current_dir(dir)
        .env_clear()
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(settings);
    command
}
