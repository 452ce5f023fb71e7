//! The file that holds the sessions: durable, private, exclusive, bounded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition, TableHandle};
use wxlogin::session::{OpenError, Place, Store};

use crate::app::{Hands, TestApp, vars};
use crate::fake_wechat::FakeWechat;
use crate::process::Process;
use crate::stores::seals;

fn on_file(path: &Path) -> Vec<(&'static str, String)> {
    vec![("SESSION_STORE", format!("file:{}", path.display()))]
}

async fn start(path: &Path) -> TestApp {
    let settings = on_file(path);
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    TestApp::with(&settings).await
}

#[tokio::test]
async fn sessions_and_their_ends_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
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
async fn every_answered_token_is_known_after_sigkill() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.redb")]);
    let mut tokens = Vec::new();
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
                        answered.lock().unwrap().push(token);
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
        tokens.append(&mut answered.lock().unwrap());
    }
    let process = Process::start(dir.path(), &settings);
    for token in &tokens {
        process.client.session(token).await.assert_status(200);
    }
}

#[tokio::test]
async fn only_the_owner_can_read_the_file_also_one_made_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    start(&path).await.stop().await;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    start(&path).await.stop().await;
    assert_eq!(mode(), 0o600);
}

#[tokio::test]
async fn a_second_process_is_refused_and_the_first_goes_on() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.redb")]);
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
        stderr.contains("the session store s.redb is in use by another process"),
        "{stderr}"
    );
    first.client.login("user-alice").await.assert_status(200);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let app = start(&path).await;
    for login in 0..50 {
        app.client
            .login(&format!("user-{login}"))
            .await
            .assert_status(200);
    }
    app.stop().await;
    let good = fs::read(&path).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let rows = [
        ("a text", b"no database at all\n".repeat(1000)),
        ("a few bytes", good[..10].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("a byte short", good[..good.len() - 1].to_vec()),
        ("no magic number", changed(&|bytes| bytes[0] ^= 1)),
        ("a header of zeros", changed(&|bytes| bytes[..4096].fill(0))),
        ("a bad header", changed(&|bytes| bytes[64..320].fill(0x5a))),
        ("pages of zeros", changed(&|bytes| bytes[4096..].fill(0))),
    ];
    for (name, bytes) in rows {
        fs::write(&path, &bytes).unwrap();
        let place = Place::File(path.clone());
        let error = Store::open(&place, seals(&[]), Arc::default(), Hands::at(0).clock())
            .err()
            .expect(name);
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{name}: {error}"
        );
        assert!(
            error.to_string().contains("move it away"),
            "{name}: {error}"
        );
        assert!(
            fs::read(&path).unwrap() == bytes,
            "{name}: the file was changed"
        );
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_keeps_its_content() {
    for name in ["sessions", "photos"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("foreign.redb");
        let table: TableDefinition<u8, u8> = TableDefinition::new(name);
        let database = redb::Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert(1, 7).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let place = Place::File(path.clone());
        let error = Store::open(&place, seals(&[]), Arc::default(), Hands::at(0).clock())
            .err()
            .expect(name);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_read().unwrap();
        assert_eq!(transaction.list_tables().unwrap().count(), 1);
        let table = transaction.open_table(table).unwrap();
        assert_eq!(table.get(1).unwrap().unwrap().value(), 7);
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("no/such/dir")] {
        let error = Store::open(
            &Place::File(path.clone()),
            seals(&[]),
            Arc::default(),
            Hands::at(0).clock(),
        )
        .err()
        .unwrap();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

/// The number of sessions, users, exchanges, expiries and generations, once the service has stopped.
fn rows(path: &Path) -> [u64; 5] {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    ["sessions", "users", "exchanges", "expiries", "generations"].map(|name| {
        let mut tables = transaction.list_tables().unwrap();
        let table = tables.find(|table| table.name() == name).unwrap();
        transaction
            .open_untyped_table(table)
            .unwrap()
            .len()
            .unwrap()
    })
}

#[tokio::test]
async fn expired_records_are_removed_and_living_ones_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let app = start(&path).await;
    app.client.login("user-old").await.assert_status(200);
    let ended = app.client.token("user-ended").await;
    app.client.end_all(&ended).await.assert_status(204);
    app.client.login("user-alice").await.assert_status(200);
    app.clock.forward(300_000);
    let kept = app.client.token("user-alice.2").await;
    app.clock.forward(304_799); // a second before the first sessions end
    app.client.get("/readyz").await.assert_status(200); // a commit
    app.stop().await;
    assert_eq!(rows(&path), [4, 3, 0, 4, 1]);

    let app = start(&path).await;
    app.clock.forward(604_800);
    app.client.get("/readyz").await.assert_status(200);
    app.client.session(&kept).await.assert_status(200);
    app.stop().await;
    assert_eq!(rows(&path), [1, 1, 0, 1, 0]);
}

#[tokio::test]
async fn an_idle_store_removes_what_expires_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let app = start(&path).await;
    // More than fit into one removal.
    let mut logins = tokio::task::JoinSet::new();
    for login in 0..600 {
        let client = app.client.clone();
        logins.spawn(async move {
            client
                .login(&format!("user-{login}"))
                .await
                .assert_status(200);
        });
    }
    logins.join_all().await;
    let before = fs::read(&path).unwrap();
    app.clock.forward(604_800);
    let mut idle = before.clone();
    for _ in 0..200 {
        // Until nothing is written any more.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = fs::read(&path).unwrap();
        if now != before && now == idle {
            break;
        }
        idle = now;
    }
    // Were anything left, stopping would remove 256 at the most.
    fs::copy(&path, dir.path().join("copy.redb")).unwrap();
    assert_eq!(rows(&dir.path().join("copy.redb")), [0; 5]);
    app.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_503_and_passes() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.redb")]);
    settings.insert("LISTEN_ADDR".into(), "127.0.0.1:0".into());
    // No file may grow beyond 512 KiB: writes fail as on a full disk, and SIGXFSZ is ignored.
    let script = r#"trap '' XFSZ; ulimit -S -f 1024; exec "$0""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_wxlogin")]);
    command
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(&settings);
    let process = Process::of(&mut command);
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

    let limit = Command::new("prlimit")
        .args(["--pid", &process.id().to_string(), "--fsize=unlimited"])
        .status()
        .unwrap();
    assert!(limit.success());
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
}
