//! nginx and Caddy with the configurations in `examples`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::generate_simple_self_signed;
use reqwest::Certificate;

pub const HOST: &str = "login.example.com";

/// Makes a certificate for [`HOST`] and its key, at the paths of the configurations.
pub fn write_certificate(dir: &Path) -> Certificate {
    let certified = generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let certificate = certified.cert.pem();
    fs::write(dir.join("cert.pem"), &certificate).unwrap();
    let key = certified.signing_key.serialize_pem();
    fs::write(dir.join("key.pem"), key).unwrap();
    Certificate::from_pem(certificate.as_bytes()).unwrap()
}

/// Trusts this certificate only, and resolves [`HOST`] to this port.
pub fn client(certificate: Certificate, port: u16) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([certificate])
        .resolve(HOST, SocketAddr::from(([127, 0, 0, 1], port)))
        .build()
        .unwrap()
}

/// The text with every `from` replaced. There must be at least one.
pub fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in\n{text}");
    text.replace(from, to)
}

pub fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    fs::read_to_string(path).unwrap()
}

pub fn nginx(dir: &Path, port: u16) -> Command {
    let conf = example("nginx.conf");
    let conf = replace(
        &conf,
        "listen 443 ssl",
        &format!("listen 127.0.0.1:{port} ssl"),
    );
    let dir_text = dir.to_str().unwrap();
    let conf = replace(
        &conf,
        "/etc/ssl/login.example.com.pem",
        &format!("{dir_text}/cert.pem"),
    );
    let conf = replace(
        &conf,
        "/etc/ssl/login.example.com.key",
        &format!("{dir_text}/key.pem"),
    );
    let conf = replace(&conf, "/var/log/nginx", dir_text);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {dir_text}/{name};"))
        .join(" ");
    // As in the nginx.conf of packages.
    let types = "types { application/json json; image/jpeg jpg; text/html html; } default_type application/octet-stream;";
    let around = format!(
        "user root; daemon off; pid {dir_text}/pid; error_log stderr crit; events {{}} http {{ {types} {temporary}\n{conf} }}"
    );
    fs::write(dir.join("nginx.conf"), around).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-p", dir_text, "-c", "nginx.conf"]);
    command.stderr(Stdio::null());
    command
}

pub fn caddy(dir: &Path, port: u16) -> Command {
    let site = format!("https://{HOST}:{port} {{\n\ttls cert.pem key.pem");
    let file = replace(
        &example("Caddyfile"),
        "\nlogin.example.com {",
        &format!("\n{site}"),
    );
    let file = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{file}");
    fs::write(dir.join("Caddyfile"), file).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
    command
        .current_dir(dir)
        .env("HOME", dir)
        .stderr(Stdio::null());
    command
}
