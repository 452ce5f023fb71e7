//! Little of everything: threads, descriptors, memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::process::Process;
use crate::support::wait::eventually;

/// A user whom nobody else is, so that limits of a user count this process only.
const UID: &str = "64777";

/// Runs the binary to its end after these words.
fn run(words: &[&str], dir: &Path, argument: Option<&str>) -> Output {
    let mut command = Command::new(words[0]);
    let binary = dir.join("wxlogin");
    command.args(&words[1..]).arg(binary).args(argument);
    command
        .current_dir(dir)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(vars("http://127.0.0.1:9", &[]));
    command.output().unwrap()
}

#[test]
fn few_threads_or_descriptors_are_one_line_that_names_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_wxlogin"), dir.path().join("wxlogin")).unwrap();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let as_nobody: &[&str] = if is_root {
        &["setpriv", "--reuid", UID, "--clear-groups"]
    } else {
        &["env"]
    };
    let limits = [
        ("--nproc=1", "cannot start"),
        ("--nproc=2", "cannot start"),
        ("--nproc=4", "cannot start"),
        ("--nofile=4", "the limit of open files is 4"),
        ("--nofile=20", "the limit of open files is 20"),
        ("--nofile=60", "the limit of open files is 60"),
    ];
    for (limit, told) in limits {
        for argument in [None, Some("check"), Some("healthcheck")] {
            let words = [as_nobody, &["prlimit", limit]].concat();
            let output = run(&words, dir.path(), argument);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
            assert_eq!(said.lines().count(), 1, "{limit}: {said}");
            assert!(said.contains(told), "{limit}: {said}");
        }
    }
}

#[test]
fn a_system_that_forbids_clone3_is_one_line_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(env!("CARGO_BIN_EXE_wxlogin"), dir.path().join("wxlogin")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/no_clone3.c");
    let program = dir.path().join("no_clone3");
    let mut cc = Command::new("cc");
    let compiled = cc
        .args(["-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(compiled.expect("cc: tests/run.sh installs it").success());
    for argument in [None, Some("check"), Some("healthcheck")] {
        let output = run(&[program.to_str().unwrap()], dir.path(), argument);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("forbid clone3"), "{said}");
    }
}

#[tokio::test]
async fn without_free_descriptors_the_internal_listener_answers_and_nothing_spins() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("INTERNAL_ADDR", "127.0.0.1:0")]);
    let mut command = Command::new("prlimit");
    command
        .args(["--nofile=200", env!("CARGO_BIN_EXE_wxlogin")])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(&settings);
    let process = Process::of(&mut command);
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(TcpStream::connect(process.client.addr).unwrap());
    }
    eventually("a line about too many connections", async || {
        process.log().contains("as many connections as")
    })
    .await;
    let internal = process.internal();
    let cpu = cpu_ticks(process.id());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        internal.get("/readyz").await.assert_status(200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = cpu_ticks(process.id()) - cpu;
    assert!(used < 30, "{used} hundredths of a second");
    assert!(process.log().lines().count() < 6, "{}", process.log());
    // Those that waited are served when others go.
    let mut last = clients.pop().unwrap();
    drop(clients);
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        last.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = read.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// CPU time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields = fields.split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
