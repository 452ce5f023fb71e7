//! The directory that holds the sessions: durable, private, exclusive, and not taken for another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rusqlite::Connection;
use wxlogin::session::{OpenError, Store};

use crate::fake_wechat::FakeWechat;
use crate::support::app::{ManualClock, TestApp, metrics, vars};
use crate::support::process::Process;
use crate::support::stores::{encryption, log_in, settings};

fn place(path: &Path) -> String {
    format!("file:{}", path.display())
}

async fn start(path: &Path) -> TestApp {
    TestApp::with(&[("SESSION_STORE", &place(path))]).await
}

fn open(path: &Path) -> Result<Store, OpenError> {
    let (settings, encryption) = (settings(&place(path)), encryption(&["s1"]));
    let clock = ManualClock::at(1_800_000_000).clock();
    let opened = Store::open(&settings, encryption, metrics(), clock);
    opened.map(|(store, _)| store)
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
async fn a_path_that_cannot_be_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no/such/dir");
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Io(_)), "{error}");
    let said = error.to_string();
    let tried = format!("failed to create directory `{}`", path.display());
    assert!(said.contains(&tried), "{said}");
    assert!(said.contains("The directory above it must exist"), "{said}");

    // Where nobody can make a directory.
    let said = open(Path::new("/sys/s.sessions"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.contains("failed to create directory `/sys/s.sessions`"),
        "{said}"
    );
    let meanings = [
        "must belong to the user that wxlogin runs as",
        "It is mounted read-only",
    ];
    assert!(
        meanings.iter().any(|meaning| said.contains(meaning)),
        "{said}"
    );
}

#[tokio::test]
async fn only_the_owner_can_read_it_also_if_it_was_made_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let assert_private = || {
        assert_eq!(mode(&path), 0o700);
        let files = files(&path);
        assert_eq!(files.len(), 2, "{:?}", names(&path));
        for (file, _) in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    };
    for _ in 0..2 {
        let app = start(&path).await;
        app.client.login("user-alice").await.assert_status(200);
        assert_private();
        app.stop().await;
        assert_private();
        for (file, _) in files(&path) {
            fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A store with some sessions; after a stop, or as a crash leaves it.
async fn used(path: &Path, crash: bool) {
    let original = path.with_extension("original");
    let store = open(&original).unwrap();
    for login in 0..100 {
        log_in(&store, &format!("o{login}"), login).await;
    }
    if crash {
        copy(&original, path);
        store.close().await;
    } else {
        store.close().await;
        copy(&original, path);
    }
    fs::remove_dir_all(original).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (file, bytes) in files(from) {
        fs::write(to.join(file.file_name().unwrap()), bytes).unwrap();
    }
}

fn names(path: &Path) -> Vec<String> {
    let files = files(path).into_iter();
    files
        .map(|(file, _)| file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Opens what must be refused and left as it is, and returns what is said.
#[track_caller]
fn refused(path: &Path, case: &str) -> (OpenError, String) {
    let before = files(path);
    let error = open(path).err().expect(case);
    assert!(
        files(path) == before,
        "{case}: {:?} was changed",
        names(path)
    );
    let said = error.to_string();
    (error, said)
}

fn is_refused(error: &OpenError, why: &str) -> bool {
    matches!(error, OpenError::Refused(said) if said.contains(why))
}

type Damage = fn(&mut Vec<u8>);

#[tokio::test]
async fn a_damaged_store_is_refused_and_left_as_it_is() {
    let cases: [(&str, Damage); 10] = [
        ("empty", Vec::clear),
        ("half a header", |file| file.truncate(50)),
        ("the first page alone", |file| file.truncate(4096)),
        ("a page short", |file| file.truncate(file.len() - 4096)),
        ("a byte short", |file| file.truncate(file.len() - 1)),
        ("a text", |file| file.fill(b'x')),
        ("zeros", |file| file.fill(0)),
        ("a header of zeros", |file| file[..100].fill(0)),
        ("a page of zeros in the middle", |file| {
            file[8192..12288].fill(0);
        }),
        ("a page of noise at the end", |file| {
            let last = file.len() - 4096;
            for (place, byte) in file[last..].iter_mut().enumerate() {
                *byte ^= u8::try_from(place % 251).unwrap() | 1;
            }
        }),
    ];
    for (case, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sessions");
        used(&path, false).await;
        let file = path.join("sessions.sqlite");
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        let (error, said) = refused(&path, case);
        assert!(is_refused(&error, "is damaged"), "{case}: {said}");
        assert!(
            said.contains("move it away") && said.contains("sessions.sqlite"),
            "{case}: {said}"
        );
    }
}

#[tokio::test]
async fn a_store_that_a_crash_left_is_refused_without_its_database_and_otherwise_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    used(&path, true).await;
    assert_eq!(names(&path).len(), 2);
    let file = path.join("sessions.sqlite");
    let good = fs::read(&file).unwrap();
    fs::write(&file, vec![b'x'; good.len()]).unwrap();
    let (error, said) = refused(&path, "a text");
    assert!(is_refused(&error, "is damaged"), "{said}");
    fs::remove_file(&file).unwrap();
    let (error, said) = refused(&path, "no database");
    assert!(is_refused(&error, "is damaged"), "{said}");
    fs::write(&file, good).unwrap();
    let store = open(&path).unwrap();
    for login in 0..100 {
        assert_eq!(
            crate::support::stores::keys(&store, &format!("o{login}")).await,
            [login]
        );
    }
    store.close().await;
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("a.file");
    fs::write(&old, "somebody's").unwrap();
    let error = open(&old).err().unwrap();
    assert!(matches!(error, OpenError::Io(_)), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("A file is where a directory must be"),
        "{said}"
    );
    assert_eq!(fs::read(&old).unwrap(), b"somebody's");

    let (error, said) = refused(dir.path(), "the files of others");
    assert!(
        is_refused(&error, "holds files and no session store"),
        "{said}"
    );
    assert!(said.contains("empty"), "{said}");
    assert_eq!(names(dir.path()), ["a.file"]);
    // A home directory can have hidden files alone.
    fs::rename(&old, dir.path().join(".profile")).unwrap();
    let (error, said) = refused(dir.path(), "the hidden files of others");
    assert!(is_refused(&error, "holds files"), "{said}");

    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("sessions.sqlite")).unwrap();
    db.execute_batch("CREATE TABLE session (id)").unwrap();
    let (error, said) = refused(dir.path(), "another program's database");
    assert!(is_refused(&error, "is damaged"), "{said}");
    assert!(said.contains("another program"), "{said}");

    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().close().await;
    let db = Connection::open(dir.path().join("sessions.sqlite")).unwrap();
    // An earlier version and a later one.
    for version in [1, 3] {
        db.execute_batch(&format!(
            "PRAGMA user_version = {version}; PRAGMA wal_checkpoint(TRUNCATE)"
        ))
        .unwrap();
        let (error, said) = refused(dir.path(), "another version's");
        assert!(
            is_refused(&error, "was made by another version of wxlogin"),
            "{said}"
        );
        assert!(
            said.contains("move it away, and users log in again"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_empty_directory_is_taken_also_after_a_start_that_came_no_further() {
    for content in [None, Some(&b""[..]), Some(b"SQLite format 3\0and no more")] {
        let dir = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            fs::write(dir.path().join("unfinished.sqlite"), content).unwrap();
        }
        let store = open(dir.path()).unwrap();
        log_in(&store, "oAlice", 1).await;
        store.close().await;
        assert_eq!(
            names(dir.path()),
            ["sessions.sqlite", "sessions.sqlite-wal"]
        );
    }
}

#[tokio::test]
async fn a_store_is_free_for_another_once_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let (error, said) = (open(dir.path()).err().unwrap(), "in use");
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().contains(said), "{error}");
    log_in(&first, "oAlice", 1).await;
    first.close().await;
    assert!(first.check().await.is_err());
    let second = open(dir.path()).unwrap();
    assert_eq!(crate::support::stores::keys(&second, "oAlice").await, [1]);
    second.close().await;
}

/// A child process has copies of all descriptors until it executes its program.
#[tokio::test]
async fn a_closed_store_is_free_while_other_threads_start_processes() {
    let test = Arc::new(());
    let starters = [0, 1].map(|_| {
        let test = Arc::downgrade(&test);
        thread::spawn(move || {
            while test.strong_count() > 0 {
                assert!(Command::new("true").status().unwrap().success());
            }
        })
    });
    let dir = tempfile::tempdir().unwrap();
    let mut refusals = 0;
    for _ in 0..100 {
        match open(dir.path()) {
            Ok(store) => store.close().await,
            Err(OpenError::InUse(_)) => refusals += 1,
            Err(error) => panic!("{error}"),
        }
    }
    drop(test);
    for starter in starters {
        starter.join().unwrap();
    }
    assert_eq!(refusals, 0);
}

#[tokio::test]
async fn files_that_were_deleted_or_replaced_are_noticed_before_anything_is_acknowledged() {
    for file in ["sessions.sqlite", "sessions.sqlite-wal"] {
        for replace in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s.sessions");
            let app = start(&path).await;
            let token = app.client.token("user-alice").await;
            app.client.session(&token).await.assert_status(200);
            app.client.get("/readyz").await.assert_status(200);
            let (file, away) = (path.join(file), dir.path().join("away"));
            fs::rename(&file, &away).unwrap();
            if replace {
                fs::copy(&away, &file).unwrap();
            }
            app.client.get("/readyz").await.assert_status(503);
            let login = app.client.login("user-bob").await;
            login.assert_problem(503, "store_unavailable", "login_again");
            app.client.session(&token).await.assert_status(200);
            fs::rename(&away, &file).unwrap();
            app.client.get("/readyz").await.assert_status(200);
            app.client.login("user-bob").await.assert_status(200);
            app.stop().await;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let app = start(&path).await;
    app.client.login("user-alice").await.assert_status(200);
    fs::remove_dir_all(&path).unwrap();
    app.client.get("/readyz").await.assert_status(503);
    app.stop().await;
}

#[tokio::test]
async fn no_other_process_can_open_the_database_of_a_running_service() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let count = || {
        let script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0); \
            print(db.execute('SELECT count(*) FROM session').fetchone())";
        let python = Command::new("python3")
            .args(["-c", script])
            .arg(path.join("sessions.sqlite"))
            .output();
        let output = python.unwrap();
        (
            output.status.success(),
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        )
    };
    let app = start(&path).await;
    let token = app.client.token("user-alice").await;
    let (is_open, said) = count();
    assert!(!is_open && said.contains("database is locked"), "{said}");
    app.client.session(&token).await.assert_status(200);
    app.stop().await;
    assert_eq!(count(), (true, "(1,)\n".into()));
}

#[tokio::test]
async fn a_logout_that_could_not_be_committed_is_done_by_its_retry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sessions");
    let app = start(&path).await;
    let token = app.client.token("user-alice").await;
    // Another program holds the database, and no commit is possible.
    let other = Connection::open(path.join("sessions.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        let answer = app.client.end(&token).await;
        answer.assert_problem(503, "store_unavailable", "retry_later");
        app.client.session(&token).await.assert_status(200);
    }
    drop(other);
    app.client.end(&token).await.assert_status(204);
    app.client.session(&token).await.assert_status(401);
    app.stop().await;
    let app = start(&path).await;
    app.client.session(&token).await.assert_status(401);
    app.stop().await;
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
    // Nothing can be written to a file beyond 128 KiB, as on a full disk.
    limit("131072:unlimited");
    let mut tokens = Vec::new();
    let refused = loop {
        let code = format!("user-{}", tokens.len());
        let answer = process.client.login(&code).await;
        if answer.status.as_u16() != 200 {
            break answer;
        }
        tokens.push(answer.json()["token"].as_str().unwrap().to_owned());
        assert!(tokens.len() < 20_000, "the disk never filled up");
    };
    refused.assert_problem(503, "store_unavailable", "login_again");
    // What is smaller might still fit in.
    limit("4096:unlimited");
    process.client.get("/readyz").await.assert_status(503);
    for (login, token) in tokens.iter().rev().take(20).enumerate() {
        let again = process.client.login(&format!("user-full.{login}")).await;
        again.assert_problem(503, "store_unavailable", "login_again");
        process.client.session(token).await.assert_status(200);
    }
    let ended = tokens.pop().unwrap();
    let answer = process.client.end(&ended).await;
    answer.assert_problem(503, "store_unavailable", "retry_later");
    process.client.session(&ended).await.assert_status(200);
    process.client.get("/healthz").await.assert_status(200);

    limit("unlimited");
    process.client.end(&ended).await.assert_status(204);
    process.client.get("/readyz").await.assert_status(200);
    tokens.push(process.client.token("user-after").await);
    process.signal("KILL");
    process.wait();

    let process = Process::start(dir.path(), &settings);
    process.client.session(&ended).await.assert_status(401);
    for token in &tokens {
        process.client.session(token).await.assert_status(200);
    }
}
