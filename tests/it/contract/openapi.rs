//! `docs/openapi.yaml`: schemathesis finds no answer of either listener that is not described, and the
//! description, the tables of the documentation and the code say the same.

mod drift;
mod generated;
mod problems;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::fake_wechat::{APPID, encrypt, openid, session_key, sign, user_info};
use crate::support::app::TestApp;
use crate::support::backend;
use crate::support::metrics::numbers;
use crate::support::yaml;

const DESCRIPTION: &str = "docs/openapi.yaml";
/// More than the number of requests of a run.
const USERS: usize = 2000;
/// Codes for which WeChat fails, and the outcome of a login. Not 45009: after it, exchanges are refused for
/// 10 s.
const FAILURES: [(&str, &str, &str); 8] = [
    ("error-40226", "user_blocked", "40226"),
    ("error-45011", "rate_limited", "45011"),
    ("error-40125", "misconfigured", "40125"),
    ("error-77", "upstream_error", "other"),
    ("garbage", "upstream_invalid", "none"),
    ("empty", "upstream_invalid", "none"),
    ("error--1", "upstream_busy", "-1"),
    ("hang", "upstream_timeout", "none"),
];
/// The checks for a failing WeChat: the others expect good responses.
const CONFORMANCE: &str = "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,failure_conformance";

/// A run of schemathesis.
struct Run<'a> {
    name: &'a str,
    url: String,
    checks: &'a str,
    arguments: &'a [&'a str],
    is_failing: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Users, each with the requests that the Mini Program or the backend would send.
fn users(run: &Run) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let user = |number: usize| {
        let name = format!("{}{number}", run.name);
        let code = format!("user-{name}");
        let (mut login, mut phone) = (code.clone(), format!("phone-{name}"));
        if run.is_failing {
            let (script, ..) = FAILURES[number % FAILURES.len()];
            login = format!("{script}.login{name}");
            phone = format!("{script}.phone{name}");
        }
        let key = session_key(&code);
        let (data, iv) = encrypt(&key, user_info(APPID, &openid(&name), now.as_secs()));
        let raw_data = r#"{"nickName":"带 Band"}"#;
        json!({
            "code": code,
            "login": login,
            "openid": openid(&name),
            "bodies": {
                "decrypt": {"encryptedData": data, "iv": iv},
                "verify": {"rawData": raw_data, "signature": sign(&key, raw_data)},
                "getPhoneNumber": {"code": phone},
            },
        })
    };
    (0..USERS).map(user).collect()
}

/// Panics with what schemathesis finds.
fn schemathesis(app: &TestApp, run: &Run) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.json");
    fs::write(&file, users(run).to_string()).unwrap();
    let output = yaml::python("schemathesis")
        .args(["--config-file", "schemathesis.toml", "run", "--no-color"])
        .args(["--continue-on-failure", "--checks", run.checks])
        .args(["--url", &run.url])
        .args(run.arguments)
        .arg(root().join(DESCRIPTION))
        .current_dir(root().join("tests/it/contract/openapi"))
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("WXLOGIN_PUBLIC", format!("http://{}", app.client.addr))
        .env("WXLOGIN_INTERNAL_TOKEN", backend::TOKEN)
        .env("WXLOGIN_APPID", APPID)
        .env("WXLOGIN_USERS", &file)
        .output()
        .unwrap();
    let [printed, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{printed}\n{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing() {
    let settings = [
        ("USERDATA_MAX_AGE", "0"),
        ("WECHAT_TIMEOUT", "2s"), // a busy machine needs more than one
        ("INTERNAL_WECHAT_PATHS", "/x"),
    ];
    let app = backend::start(&settings).await;
    let app = tokio::task::spawn_blocking(move || {
        for (name, client, other) in [
            ("public", &app.client, "internal"),
            ("internal", &app.internal, "public"),
        ] {
            let url = format!("http://{}", client.addr);
            let good = Run {
                name,
                url: url.clone(),
                checks: "all",
                arguments: &["--exclude-tag", other],
                is_failing: false,
            };
            schemathesis(&app, &good);
            let operation = ["logIn", "getPhoneNumber"][usize::from(name == "internal")];
            let failing = Run {
                name: &format!("failing{name}"),
                url,
                checks: CONFORMANCE,
                arguments: &[
                    "--include-operation-id",
                    operation,
                    "--phases=fuzzing",
                    "--mode=positive",
                    "--warnings=off",
                ],
                is_failing: true,
            };
            schemathesis(&app, &failing);
        }
        app
    });
    let app = app.await.unwrap();

    // The run covered a good response of each route, and each failure of WeChat's.
    let numbers = numbers(&app.internal).await;
    for (method, route) in drift::described_routes() {
        let route = route.replace("{path}", "{*path}");
        let with = |status: &str| {
            let labels = format!(r#"{{method="{method}",route="{route}",status="{status}"}}"#);
            numbers[&format!("wxlogin_requests_total{labels}")]
        };
        assert!(with("200") + with("204") > 0.0, "{method} {route}");
    }
    for (_, outcome, errcode) in FAILURES {
        let labels = format!(r#"{{errcode="{errcode}",outcome="{outcome}"}}"#);
        let logins = numbers[&format!("wxlogin_logins_total{labels}")];
        assert!(logins > 0.0, "{outcome}");
    }
}
