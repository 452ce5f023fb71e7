//! What is shipped: a static binary that needs nothing around it, as the Dockerfile builds it, and
//! the unit that the documentation shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::app::vars;
use crate::fake_wechat::FakeWechat;
use crate::process::Process;

/// Builds it as the Dockerfile does, but without optimisation.
fn static_binary() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
    let status = Command::new(env!("CARGO"))
        .args([
            "build", "--locked", "--quiet", "--bin", "wxlogin", "--target", host,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status()
        .unwrap();
    assert!(status.success());
    target.join(host).join("debug/wxlogin")
}

/// A command in a root directory of its own.
fn in_root(root: &Path, argument: Option<&str>) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if is_root {
        Command::new("chroot")
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    command.arg(root).arg("/wxlogin").args(argument);
    command
}

#[tokio::test]
async fn the_static_binary_runs_in_an_empty_root_directory() {
    let binary = tokio::task::spawn_blocking(static_binary).await.unwrap();
    let wechat = FakeWechat::start().await;
    let root = tempfile::tempdir().unwrap();
    fs::copy(binary, root.path().join("wxlogin")).unwrap();
    // What the image has beside it: a directory for sessions, CA certificates, names of hosts.
    for dir in ["data", "etc"] {
        fs::create_dir(root.path().join(dir)).unwrap();
    }
    fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(root.path().join("etc/ca.pem"), certified.cert.pem()).unwrap();
    let base = wechat.base().replace("127.0.0.1", "localhost");
    let mut settings = vars(
        &base,
        &[
            ("SESSION_STORE", "file:/data/wxlogin.sessions"),
            ("SSL_CERT_FILE", "/etc/ca.pem"),
            ("LISTEN_ADDR", "127.0.0.1:0"),
        ],
    );
    let path = std::env::var("PATH").unwrap();
    let mut command = in_root(root.path(), None);
    command.env_clear().env("PATH", &path).envs(&settings);
    let process = Process::of(&mut command);
    let token = process.client.token("user-alice").await;
    process.client.session(&token).await.assert_status(200);

    let mut is_healthy = |addr: String| {
        settings.insert("LISTEN_ADDR".into(), addr);
        let mut command = in_root(root.path(), Some("healthcheck"));
        command.env_clear().env("PATH", &path).envs(&settings);
        command.stderr(Stdio::null()).status().unwrap().code()
    };
    let port = process.client.addr.port();
    assert_eq!(is_healthy(format!("127.0.0.1:{port}")), Some(0));
    assert_eq!(is_healthy(format!("0.0.0.0:{port}")), Some(0));
    process.signal("TERM");
    let (status, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(is_healthy(format!("127.0.0.1:{port}")), Some(1));
}

#[test]
fn the_documentation_shows_the_unit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = fs::read_to_string(root.join("examples/wxlogin.service")).unwrap();
    for page in ["docs/en/deployment.md", "docs/zh-CN/deployment.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        assert!(text.contains(&unit), "{page} shows another unit");
    }
}
