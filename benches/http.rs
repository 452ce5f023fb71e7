//! How fast is the whole service, over HTTP on one machine? `cargo bench`
//!
//! Service, stand-in for WeChat and clients share one process, so read the ratios: what 64 clients
//! get over 1 shows the group commit, since every login is durable before it is answered.
#![allow(clippy::unwrap_used, reason = "a benchmark may fail by panicking")]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../tests/sandbox/wechat.rs"]
mod fake_wechat;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fake_wechat::{APPID, FakeWechat, SECRET};
use tikv_jemallocator::Jemalloc;
use tokio::task::JoinSet;
use wxlogin::WxLogin;
use wxlogin::config::Config;
use wxlogin::server::{Server, Timeouts};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const RUN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("bench.sessions").display());
    for store in [file.as_str(), "memory:"] {
        let kind = store.split(':').next().unwrap_or_default();
        let base = serve(store).await;
        let next = Arc::new(AtomicU64::new(0));
        for clients in [1, 64] {
            let next = next.clone();
            let url = format!("{base}/onLogin?code=user-");
            let rate = per_second(clients, move |http| {
                let login = next.fetch_add(1, Ordering::Relaxed);
                http.get(format!("{url}{login}"))
            });
            println!("{kind:6} {clients:2} clients {:8.0} logins/s", rate.await);
        }
        let login = reqwest::get(format!("{base}/onLogin?code=user-alice")).await;
        let login: serde_json::Value = login.unwrap().json().await.unwrap();
        let token = login["token"].as_str().unwrap().to_owned();
        let url = format!("{base}/session");
        let rate = per_second(64, move |http| http.get(&url).bearer_auth(&token));
        println!("{kind:6} 64 clients {:8.0} lookups/s", rate.await);
    }
}

/// Starts the service with this store and a stand-in for WeChat; returns its base URL.
async fn serve(store: &str) -> String {
    let wechat = FakeWechat::start().await;
    let vars: BTreeMap<_, _> = [
        ("WECHAT_APPID", APPID),
        ("WECHAT_SECRET", SECRET),
        ("WECHAT_API_BASE", &wechat.base()),
        ("SESSION_STORE", store),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let config = Config::from_vars(&vars).unwrap();
    let app = WxLogin::new(config).unwrap();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server {
        wxlogin: app,
        public: TcpListener::bind(addr).unwrap(),
        internal: None,
        timeouts: Timeouts::default(),
    };
    let base = format!("http://{}", server.public.local_addr().unwrap());
    tokio::spawn(server.run(|| {}, std::future::pending()));
    base
}

/// Sends `request` from so many clients, each waiting for its answer; counts good answers.
async fn per_second(
    clients: u32,
    request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder + Clone + Send + Sync + 'static,
) -> f64 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (http, request) = (http.clone(), request.clone());
        running.spawn(async move {
            let mut answers = 0_u32;
            while begin.elapsed() < RUN {
                let answer = request(&http).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
                answers += 1;
            }
            answers
        });
    }
    let answers: u32 = running.join_all().await.iter().sum();
    f64::from(answers) / begin.elapsed().as_secs_f64()
}
