//! Proxies of the environment: never for a host on this machine, and refused at start if they cannot
//! work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use wxlogin::config::Config;

use crate::fake_wechat::{FakeWechat, SECRET};
use crate::support::app::vars;
use crate::support::client::Answer;
use crate::support::process::Process;
use crate::support::tls;

/// A name that only the proxy can resolve.
const REMOTE: &str = "wechat.example";

/// A proxy that records its requests. `CONNECT` connects to the same port of the loopback, for any host;
/// everything else is refused.
struct Proxy {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let all = heads.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, all.clone()));
            }
        });
        Self { addr, heads }
    }

    fn url(&self) -> String {
        format!("http://user:pr0xy-passw0rd@{}", self.addr)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    let Some(place) = head.strip_prefix("CONNECT ") else {
        return client
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            .await;
    };
    let (place, _) = place.split_once(' ').unwrap();
    let (_, port) = place.rsplit_once(':').unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// A login by a process with these hosts and this environment.
async fn login(bases: &str, environment: &[(&str, &str)], trusted: &str) -> (Answer, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, trusted).unwrap();
    let mut settings = vars(bases, environment);
    settings.insert("SSL_CERT_FILE".into(), file.to_str().unwrap().into());
    let process = Process::start(dir.path(), &settings);
    let answer = process.client.login("user-alice").await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert!(!log.contains("pr0xy"), "{log}");
    (answer, log)
}

#[tokio::test]
async fn a_host_on_this_machine_is_asked_directly_and_another_by_connect() {
    // Bound on all addresses and not listening: it refuses connections, and no other test gets it.
    let dead = tokio::net::TcpSocket::new_v6().unwrap();
    dead.bind("[::]:0".parse().unwrap()).unwrap();
    let dead_port = dead.local_addr().unwrap().port();
    let locals = [
        "127.0.0.1",
        "127.0.0.2",
        "127.1",
        "2130706433",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "relay.localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ];
    for local in locals {
        let (wechat, proxy) = (FakeWechat::start().await, Proxy::start().await);
        let (port, certificate) = tls::serve(&wechat, REMOTE, &[]).await;
        let url = proxy.url();
        let environment = ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, &*url));
        let place = format!("{local}:{dead_port}");
        let bases = format!("http://{place},https://{place},https://{REMOTE}:{port}");
        let (answer, log) = login(&bases, &environment, &certificate).await;
        assert_eq!(answer.status, 200, "{local}: {} {log}", answer.text);
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "{local}: {heads:?}");
        let head = &heads[0];
        assert!(
            head.starts_with(&format!("CONNECT {REMOTE}:{port} ")),
            "{head}"
        );
        let lower_case = head.to_lowercase();
        assert!(
            lower_case.contains("\r\nproxy-authorization: basic "),
            "{head}"
        );
        assert!(!head.contains(SECRET), "{head}");
    }
}

/// The base URLs, the environment, and whether the proxy is used.
type Row<'a> = (&'a str, &'a [(&'a str, bool)], bool);

#[tokio::test]
async fn the_proxy_of_each_scheme_is_used_but_not_for_hosts_in_no_proxy() {
    let wechat = FakeWechat::start().await;
    let remote = format!("http://{REMOTE}");
    let (_, certificate) = tls::serve(&wechat, REMOTE, &[]).await;
    let rows: [Row<'_>; 7] = [
        (&remote, &[("HTTP_PROXY", true)], true),
        (&remote, &[("http_proxy", true)], true),
        (&remote, &[("all_proxy", true)], true),
        (&remote, &[("HTTPS_PROXY", true)], false),
        (&remote, &[("HTTP_PROXY", true), ("NO_PROXY", false)], false),
        (&remote, &[("HTTP_PROXY", true), ("no_proxy", false)], false),
        (&wechat.base(), &[("HTTP_PROXY", true)], false),
    ];
    for (bases, environment, is_asked) in rows {
        let proxy = Proxy::start().await;
        let url = proxy.url();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, is_proxy)| (*name, if *is_proxy { &*url } else { "x.test, .example" }))
            .collect();
        login(bases, &environment, &certificate).await;
        assert_eq!(!proxy.heads().is_empty(), is_asked, "{environment:?}");
    }
}

#[test]
fn a_proxy_that_cannot_work_is_refused_by_name_and_without_its_password() {
    let read = |base: &str, name: &str, value: &str| {
        let result = Config::from_vars(&vars(base, &[(name, value)]));
        result
            .map(|config| format!("{config:?}"))
            .map_err(|problems| problems.to_string())
    };
    let remote = "https://api.weixin.qq.com,http://127.0.0.1:1";
    for value in [
        "socks5://user:pr0xy@127.0.0.1:1080",
        "socks5h://127.0.0.1:1080",
        "ftp://127.0.0.1:21",
        "http://",
        "http://proxy:port",
        "http://proxy:0",
        "http://proxy:65536",
        "http://user:pr0xy#1@proxy:3128",
        "http://user:pr0xy/1@proxy:3128",
        "http://proxy:3128/path",
        "http://proxy:3128?pr0xy",
        "proxy one:3128",
        "'http://proxy:3128'",
    ] {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let problems = read(remote, name, value).expect_err(value);
            assert!(
                problems.starts_with(&format!("{name} must be ")),
                "{problems}"
            );
            assert_eq!(problems.lines().count(), 1, "{problems}");
            assert!(!problems.contains("pr0xy"), "{problems}");
            // It is not refused where it would not be used.
            assert!(
                read("http://127.0.0.1:1", name, value).is_ok(),
                "{name} {value}"
            );
        }
    }
    // Once, though two schemes need it.
    let problems = read(
        "https://a.example,http://b.example",
        "ALL_PROXY",
        "socks5://x",
    );
    assert_eq!(problems.unwrap_err().lines().count(), 1);
    for value in [
        "http://user:pr0xy@proxy:3128/",
        "https://proxy",
        "proxy:3128",
        "127.0.0.1:3128",
        "http://[::1]:3128",
    ] {
        let config = read(remote, "HTTPS_PROXY", value).expect(value);
        assert!(!config.contains("pr0xy"), "{config}");
    }
}

#[test]
fn an_app_that_sets_a_relay_keeps_the_proxy_of_its_scheme() {
    let proxies = [
        ("HTTP_PROXY", "http://proxy.example"),
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("HTTPS_PROXY", "https://proxy.example"),
    ];
    for base in ["https://api.weixin.qq.com", "http://127.0.0.1:1"] {
        let config = Config::from_vars(&vars(base, &proxies)).unwrap();
        let relayed = config.with_wechat_api_base("http://relay.example");
        let proxies = relayed.unwrap().wechat.proxies;
        let urls = [proxies.http, proxies.https].map(|url| url.unwrap());
        let urls = urls.each_ref().map(secrecy::ExposeSecret::expose_secret);
        assert_eq!(urls, ["http://proxy.example", "https://proxy.example"]);
    }
}
