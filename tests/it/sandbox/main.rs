//! `cargo run --example sandbox`: the service with both doors, and a stand-in for WeChat, in one process on
//! loopback, with nothing to configure. Not in the release binary.
#![allow(clippy::unwrap_used, reason = "a sandbox may fail by panicking")]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "wechat.rs"]
mod fake_wechat;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use fake_wechat::{APPID, FakeWechat, SCRIPT, SECRET, encrypt, openid, session_key, user_info};
use tokio::net::TcpListener;
use wxlogin::WxLogin;
use wxlogin::config::ServerConfig;
use wxlogin::server::{Server, Timeouts};

/// What the documentation and the Mini Program's project settings name; other ones if they are taken.
const PORT: u16 = 3000;
const INTERNAL_PORT: u16 = 9090;
const INTERNAL_TOKEN: &str = "sandbox-internal-token";

#[tokio::main]
async fn main() {
    let wechat = FakeWechat::start().await;
    let settings = [
        ("WECHAT_APPID", APPID),
        ("WECHAT_SECRET", SECRET),
        ("WECHAT_API_BASE", &wechat.base()),
        ("INTERNAL_ADDR", "127.0.0.1:9090"),
        ("INTERNAL_TOKEN", INTERNAL_TOKEN),
        ("INTERNAL_ACCESS_TOKEN", "on"),
        ("SESSION_STORE", "memory:"),
        ("USERDATA_MAX_AGE", "0"), // what the introduction shows is not made anew each time
        ("RUST_LOG", "wxlogin=debug"),
    ];
    let vars: BTreeMap<_, _> = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let config = ServerConfig::from_vars(&vars).unwrap();
    let _logging = wxlogin::telemetry::init(&config.log).unwrap();
    let (public, internal) = (listen(PORT).await, listen(INTERNAL_PORT).await);
    let internal_addr = internal.local_addr().unwrap();
    let wxlogin = WxLogin::new(config.service).unwrap();
    let server = Server::new(public, wxlogin, Timeouts::default()).unwrap();
    let server = server.with_internal(internal, config.internal_door);
    let server = server.unwrap();
    introduce(server.local_addr().unwrap(), internal_addr);
    let _ = server
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
        .unwrap();
}

async fn listen(port: u16) -> TcpListener {
    let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(addr(port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(addr(0)).await.unwrap(),
    }
}

fn introduce(addr: SocketAddr, internal: SocketAddr) {
    println!(
        "wxlogin's sandbox: nothing leaves this machine, and everything is forgotten when it ends.\n"
    );
    println!("Log in, with a code that asks for the user alice:\n");
    println!("    curl 'http://{addr}/onLogin?code=user-alice'\n");
    println!("Who is it? And log out:\n");
    println!("    curl -H 'Authorization: Bearer TOKEN' http://{addr}/session");
    println!("    curl -X DELETE -H 'Authorization: Bearer TOKEN' http://{addr}/session\n");
    let alice = user_info(APPID, &openid("alice"), 1_479_716_640);
    let (data, iv) = encrypt(&session_key("user-alice"), &alice);
    println!("What did WeChat encrypt for alice, who has logged in as above?\n");
    println!("    curl -H 'Authorization: Bearer TOKEN' http://{addr}/session/decrypt \\");
    println!("        -d '{{\"encryptedData\":\"{data}\",\"iv\":\"{iv}\"}}'\n");
    introduce_backend(internal);
    println!(
        "The code says what WeChat does. WeChat takes each once; user-alice.2 is a new code for alice:\n"
    );
    for (code, meaning) in SCRIPT {
        println!("    {code:10} {meaning}");
    }
    println!("\nA code of 32 characters, as wx.login gives in DevTools, logs one developer in.");
    println!("Ctrl-C ends it.");
}

fn introduce_backend(internal: SocketAddr) {
    let bearer = format!("-H 'Authorization: Bearer {INTERNAL_TOKEN}'");
    let user = format!("http://{internal}/users/{APPID}/{}", openid("alice"));
    println!("The internal door, for your backend: alice's phone number, a signature with her");
    println!(
        "session_key, whether that is valid, the access_token, and the end of her sessions:\n"
    );
    println!("    curl {bearer} {user}/phone -d '{{\"code\":\"phone-alice\"}}'");
    println!("    curl {bearer} {user}/sign -d '{{\"data\":\"{{}}\"}}'");
    println!("    curl {bearer} {user}/session_key");
    println!("    curl {bearer} http://{internal}/access_token/{APPID}");
    println!("    curl -X DELETE {bearer} {user}/sessions\n");
}
