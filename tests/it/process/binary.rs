//! The real binary: its settings, its signals, its exit status.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::fake_wechat::{APPID, FakeWechat, SECRET};
use crate::support::app::vars;
use crate::support::process::{Process, command};
use crate::support::wait::asked_for;

/// Runs it to its end.
fn output(dir: &Path, settings: &[(&str, &str)]) -> Output {
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    command(dir, &settings.collect()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_settings_are_all_told_at_once_with_status_2_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "a secret with spaces in it";
    let settings = [
        ("WECHAT_SECRET", secret),
        ("LISTEN_ADDR", "3000"),
        ("WECHAT_TIMEOUT", "4"),
        ("WECHAT_API_BASE", "https://user:hunter2@localhost"),
        ("SESSION_STORE", "redis:hunter2"),
        ("SESSION_TTL", "0s"),
        ("RUST_LOG", "a=b=c"),
        ("LOG_FORMAT", "xml"),
    ];
    let output = output(dir.path(), &settings);
    assert_eq!(output.status.code(), Some(2));
    let stderr = stderr(&output);
    let wrong = settings
        .iter()
        .map(|(name, _)| *name)
        .chain(["WECHAT_APPID"]);
    for name in wrong {
        let lines = stderr
            .lines()
            .filter(|line| line.starts_with(&format!("wxlogin: {name} ")));
        assert_eq!(lines.count(), 1, "{name} in\n{stderr}");
    }
    assert_eq!(stderr.lines().count(), 9, "{stderr}");
    assert!(
        !stderr.contains("secret with") && !stderr.contains("hunter2"),
        "{stderr}"
    );
    assert!(!dir.path().join("wxlogin.sessions").exists());
}

#[test]
fn a_broken_dotenv_is_told_without_its_content() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join(".env"),
        format!("WECHAT_APPID={APPID}\nWECHAT_SECRET: {SECRET}\n"),
    )
    .unwrap();
    let output = output(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = "wxlogin: .env, line 2, is not of the form NAME=value, in 'single quotes' if the value has spaces or quotes; write $, not \\$\n";
    assert_eq!(stderr(&output), told);
    for (content, line) in [
        (
            "\u{feff}WECHAT_APPID=wx1\r\n\r\n# WECHAT_SECRET: s3cret\r\nWECHAT_SECRET: s3cret\r\n",
            "line 4",
        ),
        ("A=1\nWECHAT_SECRET=s3c ret\nB=2\n", "line 2"),
        ("A=1\nB='s3cret\nC=2\n", "line 2"),
        ("A=1\n\n=s3cret\n", "line 3"),
        ("A=s3cret\nB=1\nexport A=2\n", "sets A twice"),
    ] {
        fs::write(dir.path().join(".env"), content).unwrap();
        let output = self::output(dir.path(), &[]);
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.starts_with("wxlogin: .env") && stderr.contains(line),
            "{line}: {stderr}"
        );
        assert!(!stderr.contains("s3c"), "{stderr}");
    }
}

#[tokio::test]
async fn a_dotenv_that_others_can_read_is_warned_of_and_a_dollar_is_kept() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vars(&wechat.base(), &[]);
    settings.remove("SESSION_STORE");
    let path = dir.path().join(".env");
    for (mode, dotenv, warnings) in [
        (0o640, "A=1\n", &[][..]),
        (0o644, "A=1\n", &["can be read by every user"]),
        (0o600, "A=1\nSESSION_STORE=file:a$A\n", &[]),
    ] {
        fs::write(&path, dotenv).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let process = Process::start(dir.path(), &settings);
        process.signal("TERM");
        let (_, log) = process.wait();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(".env")).collect();
        assert_eq!(lines.len(), warnings.len(), "{log}");
        for (line, warning) in lines.iter().zip(warnings) {
            assert!(line.contains(" WARN ") && line.contains(warning), "{line}");
        }
    }
    assert!(dir.path().join("a$A/sessions.sqlite").exists());
}

#[tokio::test]
async fn the_environment_wins_over_dotenv_and_unknown_names_are_warned_of() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dotenv = format!(
        "\u{feff}# a comment\nWECHAT_APPID=wxwrong\nexport WECHAT_SECRET='{SECRET}'\nSESSION_TTL= 1h \nWECHAT_SECRTE=x\n"
    );
    fs::write(dir.path().join(".env"), dotenv).unwrap();
    let mut settings = vars(&wechat.base(), &[]);
    settings.remove("WECHAT_SECRET");
    settings.insert("SESSION_TTL".into(), " ".into()); // counts as not set
    let process = Process::start(dir.path(), &settings);
    let answer = process.client.login("user-alice").await;
    answer.assert_status(200);
    assert_eq!(answer.json()["expires_in"], 3600);
    process.signal("TERM");
    let (_, log) = process.wait();
    assert!(
        log.contains("WARN") && log.contains("WECHAT_SECRTE is not a setting of wxlogin"),
        "{log}"
    );
    let told = "SESSION_TTL is empty in the environment, which counts as not set: the value of .env, line 4, is used";
    assert!(log.contains(told), "{log}");
}

#[test]
fn words_on_the_command_line() {
    let run = |word: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wxlogin"));
        command.arg(word).env_clear().output().unwrap()
    };
    let help = run("--help");
    assert_eq!(help.status.code(), Some(0));
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Usage: wxlogin")
    );
    let version = run("--version");
    assert_eq!(
        version.stdout,
        format!("wxlogin {}\n", env!("CARGO_PKG_VERSION")).as_bytes()
    );
    let other = run("--port=80");
    assert_eq!(other.status.code(), Some(2));
    assert!(other.stdout.is_empty() && stderr(&other).contains("Usage: wxlogin"));
}

#[tokio::test]
async fn output_that_nobody_takes_is_no_panic() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    for word in ["--help", "--version", "check", "healthcheck", "--unknown"] {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for output in [Stdio::from(full), Stdio::from(closed)] {
            let mut command = command(dir.path(), &vars(&wechat.base(), &[]));
            command.arg(word).stdout(output).stderr(Stdio::piped());
            let run = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = run.await.unwrap();
            let code = output.status.code();
            assert!(code.is_some_and(|code| code <= 2), "{word}: {code:?}");
            assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
        }
        // Standard error too.
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = command(dir.path(), &BTreeMap::new());
        let status = command
            .arg(word)
            .stdout(Stdio::null())
            .stderr(full)
            .status();
        assert!(
            status.unwrap().code().is_some_and(|code| code <= 2),
            "{word}"
        );
    }
}

#[test]
fn a_port_in_use_is_told_in_one_line_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let settings = [
        ("WECHAT_APPID", APPID),
        ("WECHAT_SECRET", SECRET),
        ("SESSION_STORE", "memory:"),
        ("LISTEN_ADDR", &addr),
    ];
    let output = output(dir.path(), &settings);
    assert_eq!(output.status.code(), Some(1));
    let stderr = stderr(&output);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains(&format!("cannot listen on {addr}: Address already in use")),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_signal_stops_it_after_the_login_in_flight() {
    let wechat = FakeWechat::start().await;
    for name in ["TERM", "INT", "QUIT"] {
        let dir = tempfile::tempdir().unwrap();
        // What runs the tests in the background may ignore SIGINT and SIGQUIT, and children inherit that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,QUIT", env!("CARGO_BIN_EXE_wxlogin")])
            .current_dir(dir.path())
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(vars(
                &wechat.base(),
                &[("SESSION_STORE", "file:s.sessions")],
            ));
        let process = Process::of(&mut command);
        // Idle connections must not delay it.
        process.client.get("/healthz").await.assert_status(200);
        let _idle = TcpStream::connect(process.client.addr).unwrap();
        let code = format!("slow-1000.{name}");
        let login = tokio::spawn({
            let (client, code) = (process.client.clone(), code.clone());
            async move { client.login(&code).await }
        });
        asked_for(&wechat, &code).await;
        let begin = Instant::now();
        process.signal(name);
        login.await.unwrap().assert_status(200);
        let (status, log) = tokio::task::spawn_blocking(|| process.wait())
            .await
            .unwrap();
        assert_eq!(status, Some(0), "{log}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{log}");
        assert!(log.contains("stopping") && !log.contains("ERROR"), "{log}");
    }
}

#[tokio::test]
async fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[]);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            r#"ulimit -S -n 64 && exec "$0""#,
            env!("CARGO_BIN_EXE_wxlogin"),
        ])
        .current_dir(dir.path())
        .env_clear()
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(&settings);
    let process = Process::of(&mut command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}
