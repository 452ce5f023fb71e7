//! The sandbox as a process. Its addresses are read from its output.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::support::client::{Answer, Client};

/// The example, killed when it is dropped.
pub struct Sandbox {
    child: Child,
    /// Its output at the start.
    pub printed: String,
}

/// Cargo builds examples beside the tests.
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    target.join("examples/sandbox")
}

/// On free ports.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    on_free_ports(command.args(arguments));
    command
}

pub fn on_free_ports(command: &mut Command) -> &mut Command {
    for name in ["LISTEN_ADDR", "PAGE_ADDR", "INTERNAL_ADDR"] {
        command.env(name, "127.0.0.1:0");
    }
    command
}

/// The exit status of a process that ends by itself within a minute.
pub fn ended_in_time(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

impl Sandbox {
    /// Waits until it has started.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cargo build --example sandbox");
        let mut printed = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            printed.extend([&line.unwrap(), "\n"]);
            if printed.contains("INTERNAL_TOKEN=") {
                break;
            }
        }
        Self { child, printed }
    }

    pub fn start() -> Self {
        Self::of(&mut command(&[]))
    }

    /// The value after a name in its output.
    pub fn value(&self, name: &str) -> String {
        let (_, value) = self.printed.split_once(name).expect(&self.printed);
        let value = value.lines().next().unwrap();
        value.trim_start_matches('=').trim().to_owned()
    }

    pub fn public(&self) -> Client {
        self.client("Service 登录服务")
    }

    pub fn internal(&self) -> Client {
        self.client("Internal listener 内部端口")
    }

    pub fn page(&self) -> Client {
        self.client("Page 页面")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it ends by itself.
    pub fn status(&mut self) -> Option<i32> {
        ended_in_time(&mut self.child)
    }

    /// One of the calls that the page makes.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let url = format!("http://{}{path}", self.page().addr);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::read(request.send().await.unwrap()).await.unwrap()
    }

    fn client(&self, name: &str) -> Client {
        let url = self.value(name);
        let addr = url.trim_start_matches("http://").trim_end_matches('/');
        Client::new(addr.parse().unwrap())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
