//! A file system that is really full: sessions can be ended, and logins wait for room.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;

use crate::fake_wechat::{APPID, FakeWechat, openid};
use crate::support::app::vars;
use crate::support::backend::TOKEN;
use crate::support::process::Process;
use crate::support::wait::eventually;

/// A few MiB of memory as a file system, mounted where only one process sees it: this needs no root.
struct SmallDisk {
    mounter: Child,
    /// As other processes see it.
    dir: PathBuf,
    temp: tempfile::TempDir,
}

impl SmallDisk {
    /// `options` of tmpfs.
    fn new(options: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mount = r#"mount -t tmpfs -o "$1" tmpfs "$0" && echo mounted && exec sleep 3600"#;
        let mut unshare = Command::new("unshare");
        unshare.args(["-rm", "sh", "-c", mount]);
        unshare.arg(temp.path()).arg(options);
        let mut mounter = unshare.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(mounter.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        let root = format!("/proc/{}/root{}", mounter.id(), temp.path().display());
        Self {
            mounter,
            dir: root.into(),
            temp,
        }
    }

    fn start(&self, settings: &BTreeMap<String, String>) -> Process {
        Process::of(&mut self.command(settings))
    }

    fn command(&self, settings: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.mounter.id().to_string(), "-U", "-m"])
            .args(["--preserve-credentials", "sh", "-c"])
            .args([
                r#"cd "$1" && shift && exec "$0" "$@""#,
                env!("CARGO_BIN_EXE_wxlogin"),
            ])
            .arg(self.temp.path())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(settings);
        command
    }

    /// As another program does.
    fn fill(&self) {
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.filler())
            .unwrap();
        for length in [1 << 16, 1 << 12, 1] {
            loop {
                match file.write_all(&vec![0; length]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("others")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.mounter.kill();
        let _ = self.mounter.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_can_still_end_sessions() {
    let (wechat, disk) = (FakeWechat::start().await, SmallDisk::new("size=6m"));
    let settings = [
        ("SESSION_STORE", "file:s.sessions"),
        ("INTERNAL_ADDR", "127.0.0.1:0"),
        ("INTERNAL_TOKEN", TOKEN),
    ];
    let settings = vars(&wechat.base(), &settings);
    let process = disk.start(&settings);
    let client = &process.client;
    let mut tokens = Vec::new();
    for round in 0..8 {
        let logins = (0..50).map(|user| format!("user-{user}.{round}"));
        tokens.extend(join_all(logins.map(async |code| client.token(&code).await)).await);
    }
    let log = disk.dir.join("s.sessions/sessions.sqlite-wal");
    let log_is_empty = async || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::metadata(&log).unwrap().len() > 0 {
            assert!(Instant::now() < deadline, "the log stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    log_is_empty().await;
    disk.fill();

    let mut logins = 0;
    let refused = loop {
        let login = client.login(&format!("user-new.{logins}")).await;
        if login.status != 200 {
            break login;
        }
        logins += 1;
        assert!(logins < 5_000, "the disk is not full");
    };
    refused.assert_problem(503, "store_unavailable", "login_again");
    let is_refused = async || {
        let readyz = client.get("/readyz").await;
        readyz.assert_problem(503, "store_unavailable", "retry_later");
        let login = client.login("user-newer").await;
        login.assert_problem(503, "store_unavailable", "login_again");
    };

    // More of them than there is room in the log, one after the other and at once.
    let (one_by_one, at_once) = (tokens.split_off(250), tokens.split_off(150));
    for token in &one_by_one {
        client.end(token).await.assert_status(204);
        client.session(token).await.assert_status(401);
    }
    is_refused().await;
    // What other programs want is not the store's.
    disk.fill();
    tokio::time::sleep(Duration::from_millis(2200)).await; // idle: two checkpoints
    disk.fill();
    for ended in join_all(at_once.iter().map(|token| client.end(token))).await {
        ended.assert_status(204);
    }
    client.end_all(&tokens[7]).await.assert_status(204);
    let path = format!("/users/{APPID}/{}/sessions", openid("8"));
    let bearer = format!("Bearer {TOKEN}");
    let ban = [("authorization", bearer.as_str())];
    let banned = process.internal().send(Method::DELETE, &path, &ban).await;
    banned.assert_status(204);
    is_refused().await;
    let lines = process.log().matches("cannot write to the session").count();
    assert_eq!(lines, 1, "{}", process.log());

    // Also after a stop, when other programs have filled the disk meanwhile.
    process.signal("TERM");
    process.wait();
    disk.fill();
    let process = disk.start(&settings);
    process.client.end(&tokens[10]).await.assert_status(204);

    // Also after a crash, on the disk that is still full.
    process.signal("KILL");
    process.wait();
    let process = disk.start(&settings);
    let client = &process.client;
    for token in one_by_one.iter().chain(&at_once) {
        client.session(token).await.assert_status(401);
    }
    for (nth, token) in tokens.iter().enumerate() {
        let is_ended = matches!(nth % 50, 7 | 8) || nth == 10;
        let expected = if is_ended { 401 } else { 200 };
        client.session(token).await.assert_status(expected);
    }
    client.end(&tokens[0]).await.assert_status(204);
    let login = client.login("user-newest").await;
    login.assert_problem(503, "store_unavailable", "login_again");
    fs::remove_file(disk.filler()).unwrap();
    client.login("user-newest.2").await.assert_status(200);
    client.get("/readyz").await.assert_status(200);
    eventually(
        "a line that the store can be written to again",
        async || process.log().contains("can be written to again"),
    )
    .await;
}

/// Each of the user's rows is in another part of a large table.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn a_user_with_many_sessions_can_be_erased_on_a_full_disk() {
    let (wechat, disk) = (FakeWechat::start().await, SmallDisk::new("size=64m"));
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let process = disk.start(&settings);
    let client = &process.client;
    let mut token = String::new();
    for round in 0..60 {
        let others = (0..200).map(|user| format!("user-{user}.{round}"));
        join_all(others.map(async |code| client.token(&code).await)).await;
        token = client.token(&format!("user-many.{round}")).await;
    }
    let log = disk.dir.join("s.sessions/sessions.sqlite-wal");
    let is_empty = async || fs::metadata(&log).unwrap().len() == 0;
    eventually("the log is emptied", is_empty).await;
    disk.fill();
    client.end_all(&token).await.assert_status(204);
    client.session(&token).await.assert_status(401);
    let login = client.login("user-new").await;
    login.assert_problem(503, "store_unavailable", "login_again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_a_store_is_refused_by_check_as_by_a_start() {
    let wechat = FakeWechat::start().await;
    // With no room for bytes, and with none for files.
    for (inodes, is_full) in [("1000", true), ("3", false)] {
        let disk = SmallDisk::new(&format!("size=6m,nr_inodes={inodes}"));
        fs::create_dir(disk.dir.join("empty")).unwrap();
        if is_full {
            disk.fill();
        }
        for place in ["file:empty", "file:s.sessions"] {
            let settings = vars(&wechat.base(), &[("SESSION_STORE", place)]);
            let (mut check, mut start) = (disk.command(&settings), disk.command(&settings));
            let files = || fs::read_dir(disk.dir.join("empty")).unwrap().count();
            let outputs = tokio::task::spawn_blocking(move || {
                [check.arg("check").output(), start.output()].map(Result::unwrap)
            });
            for output in outputs.await.unwrap() {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8(said).unwrap();
                let case = format!("{inodes} {place}: {said}");
                assert_eq!(output.status.code(), Some(1), "{case}");
                let told = ["disk is full", "No space left", "unable to open"];
                assert!(told.iter().any(|it| said.contains(it)), "{case}");
            }
            let _ = fs::remove_dir_all(disk.dir.join("s.sessions"));
            for file in fs::read_dir(disk.dir.join("empty")).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
            assert_eq!(files(), 0);
        }
    }
}
