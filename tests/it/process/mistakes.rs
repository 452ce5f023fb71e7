//! Mistakes of operators, one at a time: `wxlogin check` or the start must name the setting, and what a start refuses
//! is not good for `check` either.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::fake_wechat::{APPID, FakeWechat, OTHER_SECRET, SECRET};
use crate::support::app::vars;
use crate::support::ports::nobody;
use crate::support::process::{Process, command, copy_binary};
use crate::support::redis_server::RedisServer;

const PASSWORD: &str = "hunter2";

/// Its whole output, which must hold no secret, and its exit status.
async fn said(
    word: Option<&'static str>,
    dir: &Path,
    settings: &BTreeMap<String, String>,
) -> (String, Option<i32>) {
    let mut command = command(dir, settings);
    command.args(word);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in [SECRET, OTHER_SECRET, PASSWORD] {
        assert!(!said.contains(secret), "{said}");
    }
    (said, output.status.code())
}

/// The exit status of a service that does not start.
async fn refused(dir: &Path, settings: &BTreeMap<String, String>) -> Option<i32> {
    let mut command = command(dir, settings);
    let start = move || {
        let mut service = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(service.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        if lines.any(|line| line.contains(" listening addr=")) {
            service.kill().unwrap();
        }
        service.wait().unwrap().code()
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Checks, and starts: a start asks neither WeChat nor Redis, and both refuse everything else alike.
async fn check(dir: &Path, settings: &BTreeMap<String, String>) -> String {
    let (said, checked) = said(Some("check"), dir, settings).await;
    let refused = refused(dir, settings).await;
    if refused.is_some() || checked == Some(2) {
        assert_eq!(checked, refused, "{said}");
    }
    said
}

#[track_caller]
fn assert_leads_to(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

/// Settings, and the expected message.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[rustfmt::skip] // a table
const VALUES: &[Row] = &[
    (&[("WECHAT_APPSECRET", "x")], &["WECHAT_APPSECRET is not a setting of wxlogin"]),
    (&[("Session_Ttl", "1h")], &["Session_Ttl is not a setting of wxlogin, but SESSION_TTL is"]),
    (&[("WECHAT_TIMEOUT", "4")],
        &["WECHAT_TIMEOUT must be a duration with a unit, such as 4s", "m (minutes)", "M (months)", "it is \"4\" (environment)"]),
    (&[("SESSION_TTL", "1M")], &["settings: SESSION_TTL 1M is in months: M is months, m minutes (environment)"]),
    (&[("SESSION_TTL", "1m")], &["settings: SESSION_TTL 1m is less than five minutes"]),
    (&[("WECHAT_MAX_IN_FLIGHT", "1\u{200b}0")], &["the invisible character U+200B"]),
    (&[("SSL_CERT_FILE", "/nowhere.pem")],
        &["SSL_CERT_FILE must name certificates", "'/nowhere.pem' cannot be read: No such file"]),
    (&[("SSL_CERT_FILE", "")], &["SSL_CERT_FILE must name certificates", "'' cannot be read"]),
    (&[("SSL_CERT_FILE", "/etc/hostname")], &["'/etc/hostname' holds no certificate in PEM form"]),
    (&[("SSL_CERT_DIR", "/nowhere")],
        &["SSL_CERT_DIR must name certificates", "'/nowhere' cannot be read: No such file"]),
    (&[("NO_PROXY", "localhost,*.example.com")], &["NO_PROXY has \"*.example.com\", which matches no host"]),
    (&[("LISTEN_ADDR", "192.0.2.1:3000")],
        &["LISTEN_ADDR: cannot listen on 192.0.2.1:3000", "no network interface"]),
    (&[("WECHAT_TIMEOUT", "2m")], &["WECHAT_TIMEOUT", "from 100ms to 60s"]),
    (&[("SESSION_TTL", "20y")], &["SESSION_TTL", "from 1s to 3650d"]),
    (&[("WECHAT_MAX_IN_FLIGHT", "0")], &["WECHAT_MAX_IN_FLIGHT must be a whole number from 1 to 1000000"]),
    (&[("RUST_LOG", "warning")], &["RUST_LOG must be a level such as info"]),
    (&[("RUST_LOG", "info,")], &["RUST_LOG must be a level such as info, target=level pairs, or both"]),
    (&[("LOG_FORMAT", "JSON")], &["LOG_FORMAT must be text or json"]),
    (&[("SESSION_STORE", "file:file:x")], &["SESSION_STORE must be", "no URL (environment)"]),
    (&[("SESSION_STORE", "sessions")], &["SESSION_STORE must be file:PATH, memory:, redis://"]),
    (&[("SESSION_STORE", "redis://default:hunter2#1@cache")],
        &["SESSION_STORE must be", "percent-encode", "# is %23"]),
    (&[("WECHAT_API_BASE", "https://api.weixin.qq.com/sns/jscode2session")],
        &["WECHAT_API_BASE must be URLs", "a path of the API", "number 1 is not"]),
    (&[("WECHAT_API_BASE", "https://wechat.invalid"), ("HTTPS_PROXY", "socks5://127.0.0.1:1080")],
        &["HTTPS_PROXY must be the URL of an HTTP proxy", "SOCKS is not supported (environment)"]),
    (&[("NO_PROXY", "192.0.2.2:18081")], &["settings: NO_PROXY has \"192.0.2.2:18081\", which matches no host"]),
    (&[("SSL_CERT_DIR", "/dev/fd")], &["SSL_CERT_DIR must name certificates", "'/dev/fd' holds no certificate"]),
];
#[rustfmt::skip] // a table
const LISTENERS: &[Row] = &[
    (&[("LISTEN_ADDR", "localhost:3000")],
        &["LISTEN_ADDR must be an IP address and a port, such as 127.0.0.1:3000"]),
    (&[("SESSION_TTL", "7d—")], &["it is \"7d—\" (environment)"]),
    (&[("LISTEN_ADDR", "127.0.0.1:3000"), ("INTERNAL_ADDR", "0.0.0.0:3000")],
        &["INTERNAL_ADDR must be another address or port than LISTEN_ADDR"]),
    (&[("LISTEN_ADDR", "[::ffff:127.0.0.1]:3000"), ("INTERNAL_ADDR", "127.0.0.1:3000")],
        &["INTERNAL_ADDR must be another address or port than LISTEN_ADDR"]),
    (&[("METRICS_ADDR", "127.0.0.1:9090")], &["METRICS_ADDR must be renamed: it is INTERNAL_ADDR now"]),
    (&[("INTERNAL_TOKEN", PASSWORD)], &["INTERNAL_TOKEN must be 16 or more visible ASCII characters"]),
    (&[("INTERNAL_TOKEN", "0123456789abcdef")], &["INTERNAL_TOKEN is set, but not INTERNAL_ADDR"]),
    (&[("INTERNAL_ADDR", "0.0.0.0:9090")], &["INTERNAL_ADDR 0.0.0.0:9090 is open to other machines"]),
];

/// Each of these replaces a valid setting.
async fn assert_each_leads_to(dir: &Path, rows: &[Row<'_>]) {
    let wechat = FakeWechat::start().await;
    for (settings, parts) in rows {
        let said = check(dir, &vars(&wechat.base(), settings)).await;
        assert_leads_to(&said, parts);
    }
}

#[tokio::test]
async fn a_wrong_value_is_named_with_what_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    assert_each_leads_to(dir.path(), VALUES).await;
    assert_each_leads_to(dir.path(), LISTENERS).await;
}

#[tokio::test]
#[rustfmt::skip] // a table
async fn a_mini_program_that_is_not_right_is_named_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let not_utf8 = write("latin1.txt", b"# caf\xe9\n");
    let apps = write("apps.txt", format!("{APPID}:{SECRET}\n{APPID} {SECRET}\n").as_bytes());
    let empty = write("empty.txt", b"\n");
    let wide = write("wide.txt", format!("{APPID}\u{ff1a}{SECRET}\n").as_bytes());
    let wrong = write("wrong.txt", OTHER_SECRET.as_bytes());
    let quoted = format!("'{SECRET}'");
    let (no_appid, no_secret) = (("WECHAT_APPID", ""), ("WECHAT_SECRET", ""));
    let rows: &[Row] = &[
        (&[no_appid, no_secret], &["WECHAT_APPID is not set", "WECHAT_SECRET is not set"]),
        (&[("WECHAT_APPID", SECRET), ("WECHAT_SECRET", APPID)], &["WECHAT_APPID and WECHAT_SECRET look swapped"]),
        (&[("WECHAT_SECRET", APPID)], &["WECHAT_APPID and WECHAT_SECRET have the same value"]),
        (&[("WECHAT_SECRET", "wxfedcba9876543210")], &["settings: WECHAT_APPID and WECHAT_SECRET look swapped"]),
        (&[("WECHAT_APPID", "wx0123456789abcde\u{ff46}")],
            &["it is \"wx0123456789abcde\u{ff46}\"", "full-width character \u{ff46} (U+FF46)", "(environment)"]),
        (&[("WECHAT_APPID", "wx0123456789abcdeff")],
            &["WECHAT_APPID does not look like one", "40013", "compare WECHAT_APPID"]),
        (&[("WECHAT_SECRET", OTHER_SECRET)], &[APPID, "40125", "the AppSecret is wrong", "in WECHAT_SECRET\n"]),
        (&[no_secret, ("WECHAT_SECRET_FILE", &wrong)], &["40125", "in WECHAT_SECRET_FILE\n"]),
        (&[no_appid, no_secret, ("WECHAT_APPS", &format!("{APPID}:{OTHER_SECRET}"))],
            &["40125", "in WECHAT_APPS\n"]),
        (&[no_appid, no_secret, ("WECHAT_APPS", "wx0000000000000000:0123456789abcdef0123456789abcdef")],
            &["40013", "compare WECHAT_APPS with"]),
        (&[("WECHAT_SECRET", &quoted)], &["WECHAT_SECRET must be", "no quotes"]),
        (&[("WECHAT_APPS", "wx1:x")], &["WECHAT_APPS replaces WECHAT_APPID and WECHAT_SECRET"]),
        (&[no_secret, ("WECHAT_SECRET_FILE", "/nowhere/secret")],
            &["WECHAT_SECRET_FILE must name a file", "No such file", "it is \"/nowhere/secret\" (environment)"]),
        (&[no_secret, ("WECHAT_SECRET_FILE", &not_utf8)],
            &["WECHAT_SECRET_FILE must name", "latin1.txt", "line 1 is not UTF-8"]),
        (&[no_secret, ("WECHAT_SECRET_FILE", &apps)], &["WECHAT_SECRET_FILE must be the Mini Program's AppSecret"]),
        (&[no_secret, ("WECHAT_SECRET_FILE", &empty)], &["this one is empty; it is", "empty.txt"]),
        (&[no_appid, no_secret, ("WECHAT_APPS_FILE", &apps)],
            &["WECHAT_APPS_FILE must be appid:secret pairs", "apps.txt, line 2 is none (environment)"]),
        (&[no_appid, no_secret, ("WECHAT_APPS_FILE", &wide)],
            &["wide.txt, line 1 is none; it has the full-width character \u{ff1a} (U+FF1A) (environment)"]),
        (&[no_appid, no_secret, ("WECHAT_APPS", &format!("{APPID}:{SECRET}\u{ff0c}wx1:x"))],
            &["number 1 is none; it has the full-width character \u{ff0c} (U+FF0C) (environment)"]),
        (&[no_secret, ("WECHAT_SECRET_FILE", &wide)], &["the full-width character \u{ff1a} (U+FF1A) (environment)"]),
    ];
    assert_each_leads_to(dir.path(), rows).await;
}

#[tokio::test]
async fn a_dotenv_that_is_wrong_is_named_with_the_line() {
    let wechat = FakeWechat::start().await;
    for (content, parts) in [
        (
            "A=1\nWECHAT_SECRET: x\n",
            &[".env, line 2", "NAME=value"][..],
        ),
        (
            "SESSION_TTL=1d\nSESSION_TTL=2d\n",
            &[".env sets SESSION_TTL twice"],
        ),
        ("A=1\nB='\n", &[".env, line 2"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".env"), content).unwrap();
        let said = check(dir.path(), &vars(&wechat.base(), &[])).await;
        assert_leads_to(&said, parts);
    }
}

#[tokio::test]
async fn a_value_of_a_dotenv_is_named_with_its_line_and_a_missing_one_with_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let told = check(dir.path(), &BTreeMap::new()).await;
    let path = dir.path().canonicalize().unwrap();
    let missing = format!(
        "WECHAT_APPID is not set: the Mini Program's AppID; there is no .env in {}",
        path.display()
    );
    assert_leads_to(&told, &[&missing]);
    let dotenv = "A=1\nSESSION_TTL=0s\nINTERNAL_TOKEN=hunter2\nSSL_CERT_DIR=/nowhere\n";
    fs::write(dir.path().join(".env"), dotenv).unwrap();
    let told = check(dir.path(), &BTreeMap::new()).await;
    let parts = [
        "it is \"0s\" (.env, line 2)",
        "comma between them (.env, line 3)",
    ];
    assert_leads_to(&told, &parts);
    assert!(
        !told.contains("no .env") && !told.contains("nowhere"),
        "{told}"
    );
}

#[tokio::test]
async fn wechat_out_of_reach_is_named_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    for (base, parts) in [
        (
            format!("http://{}", nobody()),
            &["WeChat was not reached", "Connection refused"][..],
        ),
        (
            "http://wechat..invalid".to_owned(),
            &["WeChat was not reached", "lookup"],
        ),
    ] {
        let said = check(dir.path(), &vars(&base, &[])).await;
        assert_leads_to(&said, parts);
    }
}

#[tokio::test]
async fn a_redis_that_does_not_work_is_named_with_the_cause() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    let url = redis.url();
    let (_, place) = url.rsplit_once('@').unwrap(); // after the right password
    let (host, _) = place.split_once('/').unwrap();
    let nobody = nobody().to_string();
    let rows: &[(String, &[&str])] = &[
        (
            format!("redis://{nobody}"),
            &[&nobody, "Connection refused"],
        ),
        // No name server is asked for a name with an empty part: it may take longer than the limit.
        (
            "redis://cache..invalid".to_owned(),
            &["Redis at cache..invalid:6379", "lookup"],
        ),
        (format!("redis://{host}"), &[host, "NOAUTH"]),
        (
            format!("redis://:{PASSWORD}@{host}"),
            &[
                host,
                "Redis answered WRONGPASS invalid username-password pair",
            ],
        ),
        (format!("rediss://{host}"), &[host, "(TLS): timed out"]),
    ];
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, content: String| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("certificate.pem", certified.cert.pem());
    let key = file("key.pem", certified.signing_key.serialize_pem());
    let (_with_tls, tls_port) = RedisServer::with_tls(&certificate, &key);
    let tls_host = format!("127.0.0.1:{tls_port}");
    let with_tls: &[(String, &[&str])] = &[
        (
            format!("redis://:{PASSWORD}@{tls_host}"),
            &[&tls_host, ": Connection reset"],
        ),
        (
            format!("rediss://{tls_host}"),
            &[&tls_host, "(TLS)", "invalid peer certificate"],
        ),
        (
            format!("rediss+cluster://{tls_host}"),
            &[&tls_host, "(TLS)", "invalid peer certificate"],
        ),
    ];
    for (url, parts) in rows.iter().chain(with_tls) {
        let settings = vars(&wechat.base(), &[("SESSION_STORE", url)]);
        let said = check(dir.path(), &settings).await;
        assert_leads_to(&said, parts);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_the_session_store_is_named_with_the_cause() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/letter.txt"), "").unwrap();
    for (to, link) in [("nothing", "dangling"), ("loop", "loop")] {
        std::os::unix::fs::symlink(to, dir.path().join(link)).unwrap();
    }
    let long = format!("file:{}", "x".repeat(300));
    for (url, parts) in [
        ("file:dangling", &["session store", "File exists"][..]),
        ("file:loop", &["session store", "symbolic link"]),
        (&long, &["session store", "File name too long"]),
        (
            "file:/nowhere/sessions",
            &[
                "session store",
                "failed to create directory",
                "/nowhere/",
                "The directory above it must exist",
            ],
        ),
        (
            "file:full",
            &["the directory full holds files and no session store"],
        ),
        (
            "file:full/letter.txt",
            &["letter.txt", "A file is where a directory must be"],
        ),
        (
            "file:full/letter.txt/s",
            &["letter.txt/s", "A file is where a directory must be"],
        ),
    ] {
        let settings = vars(&wechat.base(), &[("SESSION_STORE", url)]);
        let said = check(dir.path(), &settings).await;
        assert_leads_to(&said, parts);
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let settings = vars(&wechat.base(), &[("INTERNAL_ADDR", &addr)]);
    for word in [None, Some("check")] {
        let (said, _) = said(word, dir.path(), &settings).await;
        let parts = ["cannot listen on", &addr, "Address already in use"];
        assert_leads_to(&said, &parts);
    }
}

/// As a user who is not its owner. Only root can be another one.
#[tokio::test]
async fn an_empty_directory_of_another_owner_is_refused_by_check_as_by_a_start() {
    let id = std::process::Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return;
    }
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("s")).unwrap();
    copy_binary(dir.path());
    for (path, mode) in [("", 0o755), ("s", 0o777)] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.path().join(path), mode).unwrap();
    }
    for word in [Some("check"), None] {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "64778", "--clear-groups", "./wxlogin"]);
        command.args(word).current_dir(dir.path());
        command.envs(vars(&wechat.base(), &[("SESSION_STORE", "file:s")]));
        command.env("LISTEN_ADDR", "127.0.0.1:0");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_leads_to(&said, &["must belong to the user that wxlogin runs as"]);
        let files = fs::read_dir(dir.path().join("s")).unwrap().count();
        assert!(word.is_none() || files == 0, "{said}");
    }
}

/// No part of it can be used, or it is not text.
#[tokio::test]
async fn certificates_and_proxies_that_are_not_usable_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(dir.path().join("broken.pem"), broken).unwrap();
    let none = "holds no certificate in PEM form that can be used";
    for (name, value, parts) in [
        ("SSL_CERT_DIR", &b"./empty"[..], &["'./empty'", none][..]),
        ("SSL_CERT_DIR", b"/dev/fd:./empty", &[none]),
        ("SSL_CERT_FILE", b"./broken.pem", &["'./broken.pem'", none]),
        ("SSL_CERT_FILE", b"caf\xe9.pem", &["cannot be read"]),
        ("HTTPS_PROXY", b"http://caf\xe9:3128", &["HTTP proxy"]),
        ("all_proxy", b"http://caf\xe9:3128", &["HTTP proxy"]),
    ] {
        for word in [None, Some("check")] {
            let settings = vars("https://wechat.invalid", &[]);
            let mut command = command(dir.path(), &settings);
            command.args(word).env(name, OsStr::from_bytes(value));
            let output = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = output.await.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert_leads_to(&said, &[&format!("wxlogin: {name} must ")]);
            assert_leads_to(&said, parts);
        }
    }
}

#[tokio::test]
async fn the_first_line_names_version_store_addresses_and_mini_programs() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    let url = redis.url();
    let (password, place) = url.rsplit_once('@').unwrap();
    let (host, _) = place.split_once('/').unwrap();
    let password = password.trim_start_matches("redis://:");
    let apps = format!("{APPID}:{SECRET},wxfedcba9876543210:{OTHER_SECRET}");
    for (store, shown) in [
        ("file:s.sessions", "file:s.sessions".to_owned()),
        ("memory:", "memory:".to_owned()),
        (&url, format!("Redis at {host}")),
    ] {
        let settings = [
            ("WECHAT_APPS", &*apps),
            ("SESSION_STORE", store),
            ("INTERNAL_ADDR", "127.0.0.1:0"),
        ];
        let mut settings = vars(&wechat.base(), &settings);
        settings.retain(|name, _| !matches!(&**name, "WECHAT_APPID" | "WECHAT_SECRET"));
        let process = Process::start(dir.path(), &settings);
        let log = process.log();
        let line = log.lines().last().unwrap();
        let internal = process.internal().addr;
        let expected = format!(
            r#"listening addr={} internal_addr={internal} version="{}" store="{shown}" mini_programs="{APPID}, wxfedcba9876543210""#,
            process.client.addr,
            env!("CARGO_PKG_VERSION"),
        );
        assert!(line.ends_with(&expected), "{line}\n{expected}");
        assert!(!log.contains(password) && !log.contains(SECRET), "{log}");
    }
}
