//! Little of everything: threads, descriptors, memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;

use crate::fake_wechat::{APPID, FakeWechat, openid};
use crate::support::app::vars;
use crate::support::backend::TOKEN;
use crate::support::process::{Process, copy_binary};
use crate::support::wait::eventually;

/// A user whom nobody else is, so that limits of a user count this process only.
const UID: u32 = 64777;

/// The words before a command that run it as that user, if this user is root; and a directory of the user with the
/// binary.
fn as_nobody() -> (Vec<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy_binary(dir.path());
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        return (vec!["env".into()], dir);
    }
    chown(dir.path(), Some(UID), None).unwrap();
    let words = ["setpriv", "--reuid", &UID.to_string(), "--clear-groups"];
    (words.map(str::to_owned).into(), dir)
}

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
    let (as_nobody, dir) = as_nobody();
    let limits = [
        ("--nproc=1", "cannot start"),
        ("--nproc=2", "cannot start"),
        ("--nproc=4", "cannot start"),
        ("--nofile=4", "the limit of open files is 4"),
        ("--nofile=20", "the limit of open files is 20"),
        ("--nofile=60", "the limit of open files is 60"),
        ("--as=500000000", "the limit of address space is 500000000"),
    ];
    for (limit, told) in limits {
        for argument in [None, Some("check"), Some("healthcheck")] {
            let words = as_nobody.iter().map(String::as_str);
            let words: Vec<_> = words.chain(["prlimit", limit]).collect();
            let output = run(&words, dir.path(), argument);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
            assert_eq!(said.lines().count(), 1, "{limit}: {said}");
            // An engine's limit that the service fits in must not make it unhealthy.
            let is_lenient = argument == Some("healthcheck");
            assert!(said.contains(told) || is_lenient, "{limit}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_can_start_no_thread_any_more_goes_on_and_stops() {
    let wechat = FakeWechat::start().await;
    let (as_nobody, dir) = as_nobody();
    // A name, which a thread that may block resolves.
    let base = wechat.base().replace("127.0.0.1", "localhost");
    let settings = [
        ("SESSION_STORE", "file:s.sessions"),
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("INTERNAL_TOKEN", TOKEN),
    ];
    let mut command = Command::new(&as_nobody[0]);
    command
        .args(&as_nobody[1..])
        .arg(dir.path().join("wxlogin"))
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(vars(&base, &settings));
    let process = Process::of(&mut command);
    let mut prlimit = Command::new(&as_nobody[0]);
    prlimit.args(&as_nobody[1..]).arg("prlimit");
    prlimit.args(["--pid", &process.id().to_string(), "--nproc=1"]);
    assert!(prlimit.status().unwrap().success());
    let (internal, bearer) = (process.internal(), format!("Bearer {TOKEN}"));
    let path = format!("/users/{APPID}/{}/sessions", openid("alice"));
    for round in 0..12 {
        let code = format!("user-alice.{round}");
        process.client.login(&code).await.assert_status(200);
        let headers = [("authorization", &*bearer)];
        let banned = internal.send(Method::DELETE, &path, &headers).await;
        banned.assert_status(204);
    }
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// Each look-up of a name takes a thread.
#[tokio::test]
async fn threads_of_a_burst_of_lookups_end() {
    let wechat = FakeWechat::start().await;
    let base = wechat.base().replace("127.0.0.1", "localhost");
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &vars(&base, &[]));
    let tasks = format!("/proc/{}/task", process.id());
    let threads = || fs::read_dir(&tasks).unwrap().count();
    let before = threads();
    let client = &process.client;
    let logins = (0..200).map(async |number| client.token(&format!("user-{number}")).await);
    let mut most = 0;
    let watch = async {
        loop {
            most = threads().max(most);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = join_all(logins.collect::<Vec<_>>()) => {}
        () = watch => {}
    }
    assert!(most > before + 2, "{before}, then {most}");
    eventually("the threads stay", async || threads() <= before + 2).await;
}

#[test]
fn a_system_that_forbids_clone3_is_one_line_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    copy_binary(dir.path());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/no_clone3.c");
    let program = dir.path().join("no_clone3");
    let mut cc = Command::new("cc");
    let compiled = cc
        .args(["-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(compiled.expect("cc: tests/run.sh installs it").success());
    for argument in [None, Some("check")] {
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
