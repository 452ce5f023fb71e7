//! The directory that holds the sessions: durable, private, exclusive, and not taken for another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wxlogin::session::{OpenError, Store};

use crate::app::{ManualClock, TestApp, metrics, vars};
use crate::fake_wechat::FakeWechat;
use crate::process::Process;
use crate::stores::{encryption, log_in, settings};

fn place(path: &Path) -> String {
    format!("file:{}", path.display())
}

async fn start(path: &Path) -> TestApp {
    TestApp::with(&[("SESSION_STORE", &place(path))]).await
}

fn open(path: &Path) -> Result<Store, OpenError> {
    let clock = ManualClock::at(1_800_000_000).clock();
    Store::open(
        &settings(&place(path)),
        encryption(&["s1"]),
        metrics(),
        clock,
    )
}

#[tokio::test]
async fn sessions_and_their_ends_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let app = start(&path).await;
    let kept = app.client.token("user-alice").await;
    let ended = app.client.token("user-bob").await;
    app.client.end(&ended).await.assert_status(204);
    app.stop().await;

    let app = start(&path).await;
    let session = app.client.session(&kept).await;
    assert_eq!(
        session.json()["openid"],
        crate::fake_wechat::openid("alice")
    );
    app.client
        .session(&ended)
        .await
        .assert_problem(401, "invalid_token", "login_again");
}

#[tokio::test]
async fn what_was_answered_is_so_after_sigkill() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let mut answered_so_far = Vec::new();
    for round in 0..3 {
        let process = Process::start(dir.path(), &settings);
        let answered = Arc::new(Mutex::new(Vec::new()));
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let (http, answered) = (process.client.clone(), answered.clone());
                tokio::spawn(async move {
                    for login in 0.. {
                        let path = format!("/onLogin?code=user-{client}.{round}.{login}");
                        let Ok(answer) = http.try_send(reqwest::Method::GET, &path, &[]).await
                        else {
                            return; // killed
                        };
                        let token = answer.json()["token"].as_str().unwrap().to_owned();
                        let bearer = format!("Bearer {token}");
                        let end = [("authorization", bearer.as_str())];
                        // Every third is ended at once.
                        let status = if login % 3 == 0 {
                            let ended = http.try_send(reqwest::Method::DELETE, "/session", &end);
                            let Ok(ended) = ended.await else { return };
                            ended.assert_status(204);
                            401
                        } else {
                            200
                        };
                        answered.lock().unwrap().push((token, status));
                    }
                })
            })
            .collect();
        while answered.lock().unwrap().len() < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.signal("KILL");
        for client in clients {
            client.await.unwrap();
        }
        answered_so_far.append(&mut answered.lock().unwrap());
    }
    let process = Process::start(dir.path(), &settings);
    for (token, status) in &answered_so_far {
        process.client.session(token).await.assert_status(*status);
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_the_first_goes_on() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let first = Process::start(dir.path(), &settings);
    let second = Command::new(env!("CARGO_BIN_EXE_wxlogin"))
        .current_dir(dir.path())
        .env_clear()
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(&settings)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains("the session store s.sessions is in use by another process"),
        "{stderr}"
    );
    first.client.login("user-alice").await.assert_status(200);
}

type Change = fn(&mut Vec<u8>);

/// The files in a directory, with their content.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(path).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn only_the_owner_can_read_it_also_if_it_was_made_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let assert_private = || {
        assert_eq!(mode(&path), 0o700);
        let files = files(&path);
        assert_eq!(files.len(), 2);
        for (file, _) in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    };
    let app = start(&path).await;
    app.client.login("user-alice").await.assert_status(200);
    assert_private();
    app.stop().await;
    for (file, _) in files(&path) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    start(&path).await.stop().await;
    assert_private();
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let mut small = settings(&place(&path));
    small.segment_len = 4.try_into().unwrap();
    let hands = ManualClock::at(1_800_000_000);
    let store = Store::open(&small, encryption(&["s1"]), metrics(), hands.clock()).unwrap();
    for login in 0..10 {
        log_in(&store, "oAlice", login).await;
    }
    store.close().await;
    let good = files(&path);
    let [first, second, last, store] = [
        "00000001.seg",
        "00000002.seg",
        "00000003.seg",
        "wxlogin.store",
    ];
    assert_eq!(good.len(), 4);

    let rows: [(&str, &str, Change); 12] = [
        ("an indexed segment, a byte short", first, |file| {
            file.pop();
        }),
        ("a segment without its end", second, |file| {
            file.truncate(1024);
        }),
        ("a segment without a header", last, |file| {
            file.truncate(511);
        }),
        ("an empty segment", last, Vec::clear),
        ("a text", first, |file| file.fill(b'x')),
        ("a header of zeros", last, |file| file[..512].fill(0)),
        ("another version", last, |file| file[16] = 2),
        ("another stage", first, |file| file[24] = 0),
        ("the store of another version", store, |file| {
            file[14] = b'2';
        }),
        ("a store with a byte changed", store, |file| file[20] ^= 1),
        ("a store cut off", store, |file| file.truncate(30)),
        ("an empty store beside segments", store, Vec::clear),
    ];
    for (name, file, change) in rows {
        let mut bytes = fs::read(path.join(file)).unwrap();
        change(&mut bytes);
        fs::write(path.join(file), &bytes).unwrap();
        let before = files(&path);
        let error = open(&path).err().expect(name);
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{name}: {error}"
        );
        let told = error.to_string();
        assert!(
            told.contains("move it away") && told.contains(file),
            "{name}: {told}"
        );
        assert!(files(&path) == before, "{name}: something was changed");
        for (file, bytes) in &good {
            fs::write(file, bytes).unwrap();
        }
    }
    // A segment under the name of another.
    fs::rename(path.join(first), path.join("00000009.seg")).unwrap();
    let error = open(&path).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("00000009.seg: it is another segment"),
        "{error}"
    );
    fs::rename(path.join("00000009.seg"), path.join(first)).unwrap();
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("wxlogin.redb");
    fs::write(&old, "sessions of an earlier version").unwrap();
    let error = open(&old).err().unwrap();
    assert!(matches!(error, OpenError::NotADirectory(_)), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("Move it away, and users log in anew"),
        "{told}"
    );
    assert_eq!(fs::read(&old).unwrap(), b"sessions of an earlier version");

    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::NotOurs(_)), "{error}");
    assert!(error.to_string().contains("empty"), "{error}");
    assert_eq!(files(dir.path()).len(), 1);
}

#[tokio::test]
async fn an_empty_directory_is_taken_also_after_a_start_that_came_no_further() {
    let dir = tempfile::tempdir().unwrap();
    for begun in [None, Some(&b""[..]), Some(&[0; 52])] {
        if let Some(content) = begun {
            fs::write(dir.path().join("wxlogin.store"), content).unwrap();
        }
        let store = open(dir.path()).unwrap();
        log_in(&store, "oAlice", 1).await;
        store.close().await;
        fs::remove_file(dir.path().join("00000001.seg")).unwrap();
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no/such/dir");
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test]
async fn an_idle_store_removes_what_has_expired_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let app = start(&path).await;
    app.client.login("user-alice").await.assert_status(200);
    assert_eq!(files(&path).len(), 2);
    app.clock.forward(604_799);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(files(&path).len(), 2);
    app.clock.forward(1);
    let removed = tokio::time::timeout(Duration::from_secs(10), async {
        while files(&path).len() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    removed.await.expect("expired sessions stay");
    let token = app.client.token("user-alice.2").await;
    app.client.session(&token).await.assert_status(200);
    app.stop().await;
}

#[tokio::test]
async fn a_session_that_was_not_written_as_a_whole_is_skipped_and_told() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let segment = dir.path().join("s.sessions/00000001.seg");
    let mut tokens = Vec::new();
    for tear in [
        |file: &mut Vec<u8>, end: usize| file[end - 200..end].fill(0),
        |file: &mut Vec<u8>, end: usize| file.truncate(end - 300),
    ] {
        let process = Process::start(dir.path(), &settings);
        for login in 0..3 {
            let code = format!("user-alice.{}.{login}", tokens.len());
            tokens.push(process.client.token(&code).await);
        }
        process.signal("KILL");
        process.wait();
        let mut file = fs::read(&segment).unwrap();
        // The ids of a slot end before it does.
        let last = file
            .chunks(512)
            .rposition(|slot| slot.iter().any(|byte| *byte != 0));
        tear(&mut file, (last.unwrap() + 1) * 512);
        fs::write(&segment, file).unwrap();
        let torn = tokens.pop().unwrap();

        let process = Process::start(dir.path(), &settings);
        let gone = process.client.session(&torn).await;
        gone.assert_problem(401, "invalid_token", "login_again");
        let after = process
            .client
            .token(&format!("user-bob.{}", tokens.len()))
            .await;
        tokens.push(after);
        for token in &tokens {
            process.client.session(token).await.assert_status(200);
        }
        process.signal("TERM");
        let (status, log) = process.wait();
        assert_eq!(status, Some(0), "{log}");
        let warnings = log.lines().filter(|line| line.contains("WARN"));
        assert_eq!(warnings.count(), 1, "{log}");
        // That of the first round is still there.
        let damaged = format!("damaged={}", tokens.len() / 3);
        assert!(log.contains(&damaged), "{damaged} is not in {log}");
        // A token that leads to it is told of; one that leads to nothing is not.
        assert_eq!(log.contains("ERROR"), tokens.len() == 3, "{log}");
    }
}

#[tokio::test]
async fn a_full_disk_is_503_and_passes() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    settings.insert("LISTEN_ADDR".into(), "127.0.0.1:0".into());
    let script = r#"trap '' XFSZ; exec "$0""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_wxlogin")]);
    command
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(&settings);
    let process = Process::of(&mut command);
    let limit = |bytes: &str| {
        let fsize = format!("--fsize={bytes}");
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &process.id().to_string(), &fsize]);
        assert!(prlimit.status().unwrap().success());
    };
    process.client.login("user-first").await.assert_status(200);
    // Nothing can be written to a file beyond 512 KiB, as on a full disk.
    limit("524288:unlimited");
    let mut tokens = Vec::new();
    let refused = loop {
        let answer = process
            .client
            .login(&format!("user-{}", tokens.len()))
            .await;
        if answer.status.as_u16() != 200 {
            break answer;
        }
        tokens.push(answer.json()["token"].as_str().unwrap().to_owned());
        assert!(tokens.len() < 20_000, "the disk never filled up");
    };
    refused.assert_problem(503, "store_unavailable", "login_again");
    for (login, token) in tokens.iter().rev().take(20).enumerate() {
        let again = process.client.login(&format!("user-full.{login}")).await;
        again.assert_problem(503, "store_unavailable", "login_again");
        process.client.session(token).await.assert_status(200);
    }
    process.client.get("/healthz").await.assert_status(200);

    limit("unlimited");
    // Writes are refused for a second after a failure.
    let back = tokio::time::timeout(Duration::from_secs(20), async {
        while process.client.get("/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    back.await.expect("the store does not come back");
    let after = process.client.token("user-after").await;
    for token in tokens.iter().chain([&after]) {
        process.client.session(token).await.assert_status(200);
    }
    // The segment that failed is not trusted any more, and the tries have left nothing behind.
    let files = files(&dir.path().join("s.sessions"));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|it| it == "seg");
    let segments = files.iter().filter(|(path, _)| is_segment(path));
    assert_eq!(segments.count(), 2);
    process.signal("KILL");
    process.wait();

    let process = Process::start(dir.path(), &settings);
    for token in tokens.iter().chain([&after]) {
        process.client.session(token).await.assert_status(200);
    }
}
