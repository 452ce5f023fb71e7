//! `wxlogin check`, `wxlogin healthcheck`, and the exit status when output cannot be written.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::fake_wechat::{APPID, FakeWechat, OTHER_APPID, OTHER_SECRET, SECRET};
use crate::support::app::vars;
use crate::support::disk::Disk;
use crate::support::ports::nobody;
use crate::support::process::{Process, command};
use crate::support::redis_server::RedisServer;

const RID: &str = "rid 66c69111-5ccc9dc8-0fd94c9e";

/// Runs it with these Mini Programs; returns the exit status and the output without warnings about settings.
async fn check(base: &str, apps: &str) -> (Option<i32>, String) {
    check_with(&["check"], base, apps).await
}

async fn check_with(words: &'static [&str], base: &str, apps: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vars(base, &[("WECHAT_APPS", apps), ("WECHAT_TIMEOUT", "1s")]);
    settings.retain(|name, _| name != "WECHAT_APPID" && name != "WECHAT_SECRET");
    let mut command: Command = command(dir.path(), &settings);
    let output = tokio::task::spawn_blocking(move || command.args(words).output());
    let output = output.await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in [SECRET, OTHER_SECRET, "not-it"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(!dir.path().join("wxlogin.sessions").exists());
    let lines = said.split_inclusive('\n');
    let said = lines.filter(|line| !line.starts_with("settings: "));
    (output.status.code(), said.collect())
}

#[tokio::test]
async fn each_mini_program_has_a_line_of_its_own() {
    let wechat = FakeWechat::start().await;
    let good = format!("{APPID}:{SECRET}");
    let (status, said) = check(&wechat.base(), &good).await;
    assert_eq!(
        (status, &*said),
        (
            Some(0),
            &*format!(
                "{APPID}: all is well\nsession store: all is well\nLISTEN_ADDR: 127.0.0.1:0 is free\n"
            )
        )
    );

    let apps = format!("{good},{OTHER_APPID}:not-it,wx1:{SECRET}");
    let (status, said) = check(&wechat.base(), &apps).await;
    assert_eq!(status, Some(1));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("{APPID}: all is well"));
    let wrong_secret =
        format!("{OTHER_APPID}: WeChat answered errcode 40125, {RID}: the AppSecret is wrong");
    assert!(lines[1].starts_with(&wrong_secret), "{said}");
    let wrong_appid =
        format!("wx1: WeChat answered errcode 40013, {RID}: WeChat does not know this AppID");
    assert!(lines[2].starts_with(&wrong_appid), "{said}");
    let rest = [
        "session store: all is well",
        "LISTEN_ADDR: 127.0.0.1:0 is free",
    ];
    assert_eq!(lines[3..], rest, "{said}");
}

#[tokio::test]
async fn one_of_two_secrets_suffices() {
    let wechat = FakeWechat::start().await;
    let apps = format!("{APPID}:not-it,{APPID}:{SECRET}");
    let (status, said) = check(&wechat.base(), &apps).await;
    assert_eq!(status, Some(0), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].contains("AppSecret 1 of 2: WeChat answered errcode 40125"),
        "{said}"
    );
    assert_eq!(lines[1], format!("{APPID}, AppSecret 2 of 2: all is well"));
}

#[tokio::test]
async fn with_token_an_access_token_of_each_mini_program_is_fetched_too() {
    let words = &["check", "--token"];
    let wechat = FakeWechat::start().await;
    let apps = format!("{APPID}:{SECRET},{OTHER_APPID}:not-it");
    let (status, said) = check_with(words, &wechat.base(), &apps).await;
    assert_eq!(status, Some(1), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("{APPID}: all is well"));
    assert_eq!(lines[1], format!("{APPID}, access_token: all is well"));
    for (line, what) in [(lines[2], ""), (lines[3], ", access_token")] {
        let wrong =
            format!("{OTHER_APPID}{what}: WeChat answered errcode 40125, {RID}: the AppSecret");
        assert!(line.starts_with(&wrong), "{said}");
    }
    assert!(!said.contains(&wechat.access_token(APPID)), "{said}");

    // An IP whitelist can allow logins and still refuse access_tokens.
    wechat.refuse_access_tokens(Some(40164));
    let good = format!("{APPID}:{SECRET}");
    let (status, _) = check_with(&["check"], &wechat.base(), &good).await;
    assert_eq!(status, Some(0));
    let (status, said) = check_with(words, &wechat.base(), &good).await;
    assert_eq!(status, Some(1), "{said}");
    let refused = format!(
        "{APPID}, access_token: WeChat answered errcode 40164, {RID}, this server's address 203.0.113.7: "
    );
    assert!(said.contains(&refused), "{said}");
    let (status, _) = check_with(&["check", "--tokens"], &wechat.base(), &good).await;
    assert_eq!(status, Some(2));
}

#[tokio::test]
async fn an_address_that_is_not_in_the_whitelist_and_an_unreachable_wechat_are_reported() {
    let wechat = FakeWechat::start().await;
    let good = format!("{APPID}:{SECRET}");
    wechat.refuse_everything(40164);
    let (status, said) = check(&wechat.base(), &good).await;
    assert_eq!(status, Some(1));
    let told = format!(
        "{APPID}: WeChat answered errcode 40164, {RID}, this server's address 203.0.113.7: this server's IP address is not in the IP whitelist"
    );
    assert!(said.starts_with(&told), "{said}");

    let nobody = nobody();
    let (status, said) = check(&format!("http://{nobody}"), &good).await;
    assert_eq!(status, Some(1));
    assert!(
        said.starts_with(&format!("{APPID}: WeChat was not reached: ")),
        "{said}"
    );
    assert!(said.contains("Connection refused"), "{said}");
}

/// Runs it with this session store in `dir`; returns the exit status and the lines about the store.
async fn check_store(dir: &Path, wechat: &FakeWechat, url: &str) -> (Option<i32>, String) {
    let mut command = command(dir, &vars(&wechat.base(), &[("SESSION_STORE", url)]));
    let output = tokio::task::spawn_blocking(move || command.arg("check").output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, store) = said.split_once("session store: ").expect(&said);
    (output.status.code(), store.to_owned())
}

#[tokio::test]
async fn a_session_store_in_a_directory_is_tried_and_not_made() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let url = "file:s.sessions";
    let (status, said) = check_store(dir.path(), &wechat, url).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("the first start makes file:"), "{said}");
    assert!(!dir.path().join("s.sessions").exists());

    // An empty directory stays empty: the operator who runs the check may be another user than the service.
    let empty = tempfile::tempdir().unwrap();
    let place = format!("file:{}", empty.path().display());
    let (status, said) = check_store(dir.path(), &wechat, &place).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("the first start makes file:"), "{said}");
    assert!(std::fs::read_dir(empty.path()).unwrap().next().is_none());

    let settings = vars(&wechat.base(), &[("SESSION_STORE", url)]);
    let process = Process::start(dir.path(), &settings);
    let (status, said) = check_store(dir.path(), &wechat, url).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("is in use by another process"), "{said}");
    let token = process.client.token("user-alice").await;
    process.signal("TERM");
    process.wait();
    let (status, said) = check_store(dir.path(), &wechat, url).await;
    assert_eq!(
        (status, &*said),
        (Some(0), "all is well\nLISTEN_ADDR: 127.0.0.1:0 is free\n")
    );
    let process = Process::start(dir.path(), &settings);
    process.client.session(&token).await.assert_status(200);

    std::fs::write(dir.path().join("text"), "not a store").unwrap();
    let (status, said) = check_store(dir.path(), &wechat, "file:text").await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("move it away"), "{said}");
}

#[tokio::test]
async fn a_check_that_is_killed_leaves_nothing_that_a_start_refuses() {
    let wechat = FakeWechat::start().await;
    for is_there in [false, true] {
        let disk = Disk::new();
        let place = disk.dir().join("s.sessions");
        if is_there {
            std::fs::create_dir(&place).unwrap();
        }
        let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
        let before = disk.hits();
        disk.fault("sync", "hang");
        let mut check = disk.command(&settings).arg("check").spawn().unwrap();
        disk.await_hits(before).await;
        check.kill().unwrap();
        check.wait().unwrap();
        disk.mend();
        let parent = if is_there { &place } else { &disk.dir() };
        let left = std::fs::read_dir(parent).unwrap().next().unwrap().unwrap();
        let name = left.file_name().into_string().unwrap();
        assert!(name.starts_with(".wxlogin-check-"), "{name}");

        let url = "file:s.sessions";
        let (status, said) = check_store(&disk.dir(), &wechat, url).await;
        assert_eq!(status, Some(0), "{said}");
        assert!(said.starts_with("the first start makes file:"), "{said}");
        let process = Process::start(&disk.dir(), &settings);
        let code = format!("user-alice.{is_there}");
        process.client.login(&code).await.assert_status(200);
    }
}

#[tokio::test]
async fn another_program_at_an_address_is_not_taken_for_wxlogin() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    // It answers 200 to everything.
    let other = axum::Router::new().fallback(async || "ok\n");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, other).await });
    for name in ["LISTEN_ADDR", "INTERNAL_ADDR"] {
        let settings = vars(&wechat.base(), &[(name, &addr)]);
        let mut command = command(dir.path(), &settings);
        let output = tokio::task::spawn_blocking(move || command.arg("check").output());
        let output = output.await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let told = format!("{name}: cannot listen on {addr}: Address already in use");
        assert!(said.contains(&told), "{said}");
    }
    let settings = [
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("INTERNAL_ADDR", "127.0.0.1:0"),
    ];
    let process = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let (public, internal) = (process.client.addr, process.internal().addr);
    let running = [("LISTEN_ADDR", public), ("INTERNAL_ADDR", internal)];
    let running = running.map(|(name, addr)| (name, addr.to_string()));
    let running = running.each_ref().map(|(name, addr)| (*name, &**addr));
    let mut command = command(dir.path(), &vars(&wechat.base(), &running));
    let output = tokio::task::spawn_blocking(move || command.arg("check").output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for addr in [public, internal] {
        assert!(
            said.contains(&format!("wxlogin answers at {addr}")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_redis_is_tried_and_warned_of() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    let (status, said) = check_store(dir.path(), &wechat, &redis.url()).await;
    assert_eq!(
        (status, &*said),
        (Some(0), "all is well\nLISTEN_ADDR: 127.0.0.1:0 is free\n")
    );
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let (status, said) = check_store(dir.path(), &wechat, &redis.url()).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("maxmemory-policy is allkeys-lru"), "{said}");
    let url = redis.url();
    drop(redis);
    let (status, said) = check_store(dir.path(), &wechat, &url).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the session store does not answer"), "{said}");
}

#[tokio::test]
async fn wrong_settings_are_reported_before_wechat_is_asked() {
    let wechat = FakeWechat::start().await;
    let (status, said) = check(&wechat.base(), "wx1").await;
    assert_eq!(status, Some(2));
    assert!(said.starts_with("wxlogin: WECHAT_APPS must be"), "{said}");
    assert_eq!(wechat.requests(), 0);
}

/// The exit status with this standard output and standard error.
fn status(word: &str, base: &str, stdout: Stdio, stderr: Stdio) -> Option<i32> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path(), &vars(base, &[]));
    command.arg(word).stdout(stdout).stderr(stderr);
    command.status().unwrap().code()
}

fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.unwrap().into()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[tokio::test]
async fn an_output_that_cannot_be_written_is_a_failure_and_no_panic() {
    let wechat = FakeWechat::start().await;
    let base = wechat.base();
    let statuses = tokio::task::spawn_blocking(move || {
        let status = |word, stdout, stderr| status(word, &base, stdout, stderr);
        for word in ["--help", "--version", "check"] {
            assert_eq!(status(word, full(), Stdio::inherit()), Some(1), "{word}");
            assert_eq!(status(word, closed(), Stdio::inherit()), Some(1), "{word}");
        }
        for (word, expected) in [("--wrong", 2), ("healthcheck", 1)] {
            assert_eq!(
                status(word, Stdio::null(), full()),
                Some(expected),
                "{word}"
            );
            assert_eq!(
                status(word, Stdio::null(), closed()),
                Some(expected),
                "{word}"
            );
        }
    });
    statuses.await.unwrap();
}

#[test]
fn wrong_settings_are_status_2_even_if_nobody_can_be_told() {
    for stderr in [full(), closed()] {
        let mut command = command(Path::new("/"), &vars("nonsense", &[]));
        let status = command.stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(2));
    }
}

/// Runs `wxlogin healthcheck` against a server that answers with `answer`.
fn healthcheck(answer: &'static str) -> (Option<i32>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        // Keeps the connection open until the client closes it.
        let _ = stream.read(&mut [0]);
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let dir = tempfile::tempdir().unwrap();
    // A proxy in the environment is not used.
    let settings = [
        ("LISTEN_ADDR", addr.to_string()),
        ("HTTP_PROXY", "http://127.0.0.1:9".into()),
        ("http_proxy", "http://127.0.0.1:9".into()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let mut command = command(dir.path(), &vars("http://127.0.0.1:9", &settings));
    let output = command.arg("healthcheck").output().unwrap();
    let request = server.join().unwrap();
    assert!(
        request.starts_with("GET /healthz HTTP/1.1\r\n"),
        "{request}"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.is_empty() || said.starts_with(&format!("wxlogin: {addr} ")),
        "{said}"
    );
    (output.status.code(), said)
}

#[test]
fn a_healthcheck_succeeds_only_if_the_service_answers_200() {
    let ours = "HTTP/1.1 200 OK\r\nserver: wxlogin\r\ncontent-length: 3\r\n\r\nok\n";
    assert_eq!(healthcheck(ours), (Some(0), String::new()));
    for other in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n",
        "HTTP/1.1 200 OK\r\nserver: nginx\r\ncontent-length: 3\r\n\r\nok\n",
    ] {
        let (status, said) = healthcheck(other);
        assert_eq!(status, Some(1));
        assert!(said.contains("answers, but is not wxlogin"), "{said}");
    }
    let (status, said) =
        healthcheck("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(status, Some(1));
    assert!(said.contains("503"), "{said}");
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let (status, said) = healthcheck(redirect);
    assert_eq!(status, Some(1));
    assert!(said.contains("302"), "{said}");
    let (status, said) = healthcheck("SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(status, Some(1));
    assert!(said.contains("does not answer"), "{said}");
    let (status, said) = healthcheck("");
    assert_eq!(status, Some(1));
    assert!(said.contains("timed out"), "{said}");
}
