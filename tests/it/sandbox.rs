//! `cargo run --example sandbox`: the service and a stand-in for WeChat in one process on
//! loopback, with nothing to configure. Not in the release binary.
#![allow(clippy::unwrap_used, reason = "a sandbox may fail by panicking")]

#[allow(dead_code, reason = "the tests use all of it")]
mod fake_wechat;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use fake_wechat::{APPID, FakeWechat, SCRIPT, SECRET, encrypt, openid, session_key, user_info};
use tokio::net::TcpListener;
use wxlogin::WxLogin;
use wxlogin::config::{Config, ServerConfig};
use wxlogin::server::{Server, Timeouts};

/// What the README and the Mini Program's project settings name; another one if it is taken.
const PORT: u16 = 3000;

#[tokio::main]
async fn main() {
    let wechat = FakeWechat::start().await;
    let settings = [
        ("WECHAT_APPID", APPID),
        ("WECHAT_SECRET", SECRET),
        ("WECHAT_API_BASE", &wechat.base()),
        ("SESSION_STORE", "memory:"),
        ("USERDATA_MAX_AGE", "0"), // what the introduction shows is not made anew each time
        ("RUST_LOG", "wxlogin=debug"),
    ];
    let vars: BTreeMap<_, _> = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let config = ServerConfig::from_vars(&vars).unwrap();
    let _logging = wxlogin::telemetry::init(&config.log).unwrap();
    let server = match bind(&vars, PORT).await {
        Ok(server) => server,
        Err(_) => bind(&vars, 0).await.unwrap(),
    };
    introduce(server.local_addr().unwrap());
    let _ = server
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
        .unwrap();
}

async fn bind(vars: &BTreeMap<String, String>, port: u16) -> std::io::Result<Server> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(addr).await?;
    let config = Config::from_vars(vars).unwrap();
    let app = WxLogin::new(config).unwrap();
    Server::new(listener, app, Timeouts::default())
}

fn introduce(addr: SocketAddr) {
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
    println!(
        "The code says what WeChat does. WeChat takes each once; user-alice.2 is a new code for alice:\n"
    );
    for (code, meaning) in SCRIPT {
        println!("    {code:10} {meaning}");
    }
    println!("\nA code of 32 characters, as wx.login gives in DevTools, logs one developer in.");
    println!("Ctrl-C ends it.");
}
