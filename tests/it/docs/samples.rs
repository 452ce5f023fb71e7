//! `examples/backend`: the pages show the files, and a shop in each language works with the sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::{hmac_sign, openid, phone_number, session_key};
use crate::support::client::{Answer, Client};
use crate::support::ports::nobody;
use crate::support::sandbox_process::Sandbox;

/// The files that the pages show: page, language of the code block, file.
const SHOWN: [(&str, &str, &str); 5] = [
    ("backend-node-python-php.md", "js", "node/wxlogin.mjs"),
    ("backend-node-python-php.md", "python", "python/wxlogin.py"),
    ("backend-node-python-php.md", "php", "php/wxlogin.php"),
    ("backend-java-go.md", "java", "java/Wxlogin.java"),
    ("backend-java-go.md", "go", "go/wxlogin.go"),
];
/// Jackson, as Debian installs it.
const JACKSON: &str = "/usr/share/java/jackson-core.jar:/usr/share/java/jackson-annotations.jar:/usr/share/java/jackson-databind.jar";

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backend")
}

/// A shop's backend, killed when it is dropped.
struct Shop {
    child: Child,
    client: Client,
}

impl Shop {
    /// Starts what listens on the port of `PORT`, or of its arguments, as the backend of a sandbox.
    async fn start(
        program: impl Fn(u16) -> Command,
        sandbox: &Sandbox,
        internal_token: &str,
    ) -> Self {
        let addr = nobody();
        let child = program(addr.port())
            .env("PORT", addr.port().to_string())
            .env("WXLOGIN", format!("http://{}", sandbox.public().addr))
            .env(
                "WXLOGIN_INTERNAL",
                format!("http://{}", sandbox.internal().addr),
            )
            .env("INTERNAL_TOKEN", internal_token)
            .env("NO_PROXY", "127.0.0.1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .spawn()
            .expect("not installed: tests/packages.sh installs it");
        let mut shop = Self {
            child,
            client: Client::new(addr),
        };
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            assert_eq!(shop.child.try_wait().unwrap(), None, "the shop has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        shop
    }

    async fn ask(&self, method: Method, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        self.client.send(method, path, &headers).await
    }

    async fn phone(&self, token: &str, code: &str) -> Answer {
        let body = format!(r#"{{"code":"{code}"}}"#);
        self.client.post("/phone", token, body).await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// wxlogin's own document, as the shop passed it on.
#[track_caller]
fn assert_passed_on(answer: &Answer, status: u16, code: &str, action: &str) {
    let problem = answer.assert_status(status).json();
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        (&problem["code"], &problem["action"]),
        (&code.into(), &action.into())
    );
}

/// A fault of the shop's own, with nothing of wxlogin's in it.
#[track_caller]
fn assert_own_fault(answer: &Answer) {
    let text = answer.assert_status(500).json();
    assert_eq!(text["detail"], "The shop has a fault.");
    assert_eq!(text.get("code"), None);
}

/// What WeChat does next.
async fn set(sandbox: &Sandbox, rule: Value) {
    let answer = sandbox.call(Method::PUT, "/sandbox/next", Some(rule)).await;
    answer.assert_status(204);
}

/// A user logs in, gives the phone number, is charged, gets a message, writes comments, and deletes the account.
async fn serves_users(program: impl Fn(u16) -> Command) {
    let sandbox = Sandbox::start();
    let internal_token = sandbox.value("INTERNAL_TOKEN");
    let shop = Shop::start(&program, &sandbox, &internal_token).await;
    let nobody = shop.client.get("/me").await;
    assert_passed_on(&nobody, 401, "invalid_token", "login_again");

    let token = sandbox.public().token("user-alice").await;
    let me = shop.ask(Method::GET, "/me", &token).await;
    assert_eq!(me.assert_status(200).json()["openid"], openid("alice"));
    assert_eq!(me.json()["phone"], Value::Null);

    let number = shop.phone(&token, "phone-alice").await;
    let number = number.assert_status(200).json();
    assert_eq!(number["purePhoneNumber"], phone_number(&openid("alice")));
    let me = shop.ask(Method::GET, "/me", &token).await.json();
    assert_eq!(me["phone"], phone_number(&openid("alice")));

    let used = shop.phone(&token, "error-40029").await;
    assert_passed_on(&used, 400, "invalid_phone_code", "ask_again");
    // wxlogin gives up after WECHAT_TIMEOUT; the shop has waited longer than that.
    let late = shop.phone(&token, "hang").await;
    assert_passed_on(&late, 504, "upstream_timeout", "ask_again");

    let order = shop.client.post("/pay", &token, "").await;
    let order = order.assert_status(200).json();
    let data = order["signData"].as_str().unwrap();
    let data_as_json: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data_as_json["goodsPrice"], 990);
    let signature = hmac_sign(&session_key("user-alice"), data);
    assert_eq!(order["signature"], signature);

    let message = shop.client.post("/message", &token, "").await;
    assert_eq!(message.assert_status(200).json(), json!({"sent": true}));
    let rule = json!({"call": "/cgi-bin/message/subscribe/send", "script": "error-43101"});
    set(&sandbox, rule).await;
    let message = shop.client.post("/message", &token, "").await;
    assert_eq!(message.assert_status(200).json(), json!({"sent": false}));
    for (text, is_published) in [("good tea", true), ("risky tea", false)] {
        let body = json!({"text": text}).to_string();
        let comment = shop.client.post("/comment", &token, body).await;
        let published = json!({"published": is_published});
        assert_eq!(comment.assert_status(200).json(), published);
    }
    // A refusal that the shop does not expect is its own fault.
    set(
        &sandbox,
        json!({"call": "/wxa/msg_sec_check", "script": "error-87014"}),
    )
    .await;
    let comment = shop
        .client
        .post("/comment", &token, r#"{"text":"tea"}"#)
        .await;
    assert_own_fault(&comment);

    // The internal listener's 401 is not the user's.
    let wrong = Shop::start(&program, &sandbox, "another-internal-token").await;
    assert_own_fault(&wrong.phone(&token, "phone-alice.2").await);
    drop(wrong);

    let other = sandbox.public().token("user-alice.2").await;
    let deleted = shop.ask(Method::DELETE, "/account", &token).await;
    deleted.assert_status(200);
    for token in [&token, &other] {
        let me = shop.ask(Method::GET, "/me", token).await;
        assert_passed_on(&me, 401, "invalid_token", "login_again");
    }
    let token = sandbox.public().token("user-alice.3").await;
    let me = shop.ask(Method::GET, "/me", &token).await.json();
    assert_eq!(me["phone"], Value::Null, "the shop has forgotten the user");

    drop(sandbox);
    assert_own_fault(&shop.ask(Method::GET, "/me", &token).await);
}

fn in_directory(program: &str, arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    command
}

/// Builds a shop, or panics with what the compiler says.
#[track_caller]
fn build(program: &str, arguments: &[&str], directory: &str) {
    let output = in_directory(program, arguments, &samples().join(directory))
        .output()
        .expect("not installed: tests/packages.sh installs it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

#[tokio::test]
async fn the_shop_in_node_serves_users() {
    let directory = samples().join("node");
    serves_users(|_| in_directory("node", &["shop.mjs"], &directory)).await;
}

#[tokio::test]
async fn the_shop_in_python_serves_users() {
    let directory = samples().join("python");
    serves_users(|_| in_directory("python3", &["shop.py"], &directory)).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn the_shop_in_java_serves_users() {
    let classes = tempfile::tempdir().unwrap();
    let dir = classes.path().to_str().unwrap();
    let arguments = [
        "-Xlint:all,-serial",
        "-Werror",
        "-cp",
        JACKSON,
        "-d",
        dir,
        "Wxlogin.java",
        "Shop.java",
    ];
    build("javac", &arguments, "java");
    let class_path = format!("{JACKSON}:{dir}");
    serves_users(|_| in_directory("java", &["-cp", &class_path, "Shop"], &samples())).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn the_shop_in_go_serves_users() {
    let built = tempfile::tempdir().unwrap();
    let shop = built.path().join("shop");
    build("go", &["vet", "."], "go");
    build("go", &["build", "-o", shop.to_str().unwrap(), "."], "go");
    serves_users(|_| Command::new(&shop)).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn the_shop_in_php_serves_users() {
    let directory = samples().join("php");
    let kept = tempfile::tempdir().unwrap();
    serves_users(|port| {
        let address = format!("127.0.0.1:{port}");
        let mut command = in_directory("php", &["-S", &address, "shop.php"], &directory);
        command.env("SHOP_FILE", kept.path().join("shop.json"));
        command
    })
    .await;
}

#[test]
fn the_pages_show_the_samples() {
    for (page, language, file) in SHOWN {
        let sample = fs::read_to_string(samples().join(file)).expect(file);
        for directory in ["docs/en", "docs/zh-CN"] {
            let page = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(directory)
                .join(page);
            let text = fs::read_to_string(&page).unwrap();
            let block = format!("```{language}\n{sample}```\n");
            assert!(
                text.contains(&block),
                "{} shows another {file}",
                page.display()
            );
        }
    }
}
