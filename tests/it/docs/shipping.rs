//! Static binaries, built as in the Dockerfile, in an empty root directory; and what the images hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::process::Process;
use crate::support::sandbox_process::{Sandbox, on_free_ports};
use crate::support::yaml::python;

/// The paths of both, built once for all tests.
static BINARIES: LazyLock<PathBuf> = LazyLock::new(build);

/// Builds them as the Dockerfile does, but without optimisation.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet"])
        .args(["--bin", "wxlogin", "--example", "sandbox"])
        .args(["--target", host])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status()
        .unwrap();
    assert!(status.success());
    target.join(host).join("debug")
}

/// One of them in a root directory with what the image has: CA certificates, and the host names that Docker
/// adds.
async fn root_with(binary: &'static str) -> tempfile::TempDir {
    let built = tokio::task::spawn_blocking(move || BINARIES.join(binary));
    let root = tempfile::tempdir().unwrap();
    let name = Path::new(binary).file_name().unwrap();
    fs::copy(built.await.unwrap(), root.path().join(name)).unwrap();
    let certificates = root.path().join("etc/ssl/certs");
    fs::create_dir_all(&certificates).unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(
        certificates.join("ca-certificates.crt"),
        certified.cert.pem(),
    )
    .unwrap();
    fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    root
}

/// A command with this root directory, without an environment.
fn in_root(root: &Path, arguments: &[&str]) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if is_root {
        Command::new("chroot")
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    let path = std::env::var("PATH").unwrap();
    command.arg(root).args(arguments);
    command.env_clear().env("PATH", path);
    command
}

#[tokio::test]
#[ignore = "builds everything again: tests/slow.sh"]
async fn the_static_binary_runs_in_an_empty_root_directory() {
    let root = root_with("wxlogin").await;
    fs::create_dir(root.path().join("data")).unwrap();
    let wechat = FakeWechat::start().await;
    let base = wechat.base().replace("127.0.0.1", "localhost");
    let mut settings = vars(
        &base,
        &[
            ("SESSION_STORE", "file:/data/wxlogin.sessions"),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
            ("LISTEN_ADDR", "127.0.0.1:0"),
        ],
    );
    let mut command = in_root(root.path(), &["/wxlogin"]);
    command.envs(&settings);
    let process = Process::of(&mut command);
    let token = process.client.token("user-alice").await;
    process.client.session(&token).await.assert_status(200);

    let mut is_healthy = |addr: String| {
        settings.insert("LISTEN_ADDR".into(), addr);
        let mut command = in_root(root.path(), &["/wxlogin", "healthcheck"]);
        command.envs(&settings);
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

#[tokio::test]
#[ignore = "builds everything again: tests/slow.sh"]
async fn the_static_sandbox_runs_in_an_empty_root_directory() {
    let root = root_with("examples/sandbox").await;
    let mut command = in_root(root.path(), &["/sandbox", "--container"]);
    let sandbox = Sandbox::of(on_free_ports(&mut command));
    let token = sandbox.public().token("user-alice").await;
    sandbox.public().session(&token).await.assert_status(200);
    let page = sandbox.page().get("/").await;
    assert!(page.assert_status(200).text.contains("user-alice"));
}

#[test]
#[ignore = "builds everything four times: tests/slow.sh"]
fn a_release_is_twice_the_same_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let releases = ["one", "another"].map(|name| {
        let clone = dir.path().join(name);
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", env!("CARGO_MANIFEST_DIR")]);
        assert!(git.arg(&clone).status().unwrap().success());
        let release = Command::new(clone.join(".ci/release")).status();
        assert!(release.unwrap().success());
        clone.join("target/release-files")
    });
    let read = |name: &str| fs::read_to_string(releases[0].join(name)).unwrap();
    let sums = fs::read_to_string(releases[1].join("SHA256SUMS")).unwrap();
    assert_eq!(read("SHA256SUMS"), sums);
    assert_eq!(sums.lines().count(), 6, "{sums}");
    for (name, has_sqlite) in [("wxlogin", true), ("wxlogin-sandbox", false)] {
        let help = Command::new(releases[0].join(name)).arg("--help").output();
        assert!(help.unwrap().status.success(), "{name}");
        let sbom = read(&format!("{name}.sbom.json"));
        let licenses = read(&format!("{name}.licenses.txt"));
        for library in ["axum", "reqwest", "aws-lc-sys"] {
            assert!(
                sbom.contains(&format!("\"{library}\"")),
                "{name}: {library}"
            );
            assert!(
                licenses.contains(&format!(" {library} ")),
                "{name}: {library}"
            );
        }
        assert_eq!(sbom.contains("\"rusqlite\""), has_sqlite, "{name}");
    }
}

#[test]
fn both_images_are_a_binary_and_ca_certificates_alone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let dockerfile = fs::read_to_string(path).unwrap();
    let stages: Vec<&str> = dockerfile.split("\nFROM ").collect();
    // `docker build` makes the last one.
    let [.., sandbox, service] = stages.as_slice() else {
        panic!("{stages:?}");
    };
    for (stage, name, files) in [
        (sandbox, "sandbox", &["/sandbox"] as &[&str]),
        (service, "service", &["/wxlogin", "/data"]),
    ] {
        assert!(
            stage.starts_with(&format!("scratch AS {name}\n")),
            "{stage}"
        );
        assert!(stage.contains("\nUSER 65532:65532\n"), "{stage}");
        let copies = stage.lines().filter(|line| line.starts_with("COPY"));
        let files_inside: Vec<_> = copies
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        let certificates = ["/etc/ssl/certs/ca-certificates.crt"];
        assert_eq!(files_inside, [&certificates, files].concat());
    }
}

#[test]
fn the_kubernetes_manifest_is_valid() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes.yaml");
    let output = python("kubernetes-validate")
        .args(["--strict", "-k", "1.37"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
