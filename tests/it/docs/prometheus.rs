//! `examples/prometheus` with a real Prometheus that scrapes the real service.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::yaml;

const EXAMPLES: &str = "examples/prometheus";
const PAGES: [&str; 2] = [
    "docs/en/logs-and-metrics.md",
    "docs/zh-CN/logs-and-metrics.md",
];
/// The longest wait for a condition.
const DEADLINE: Duration = Duration::from_secs(60);

fn path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(EXAMPLES).join(name)
}

fn promtool(words: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("promtool")
        .args(words)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Name and expression of each alert, on one line.
fn alerts() -> Vec<(String, String)> {
    let rules = yaml::read(&format!("{EXAMPLES}/rules.yml"));
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules
        .map(|rule| (text(&rule["alert"]), text(&rule["expr"])))
        .collect()
}

/// The expressions of the dashboard's panels and variables, for the job `wxlogin`.
fn dashboard_queries() -> Vec<String> {
    let dashboard = fs::read_to_string(path("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    targets
        .chain(annotations)
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query
                .replace("$job", "wxlogin")
                .replace("$__rate_interval", "30s")
        })
        .collect()
}

/// The metrics of wxlogin that a query names.
fn metrics_in(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("wxlogin_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// A running Prometheus, killed when it is dropped.
struct Prometheus {
    child: Child,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// With the configuration of the example, but for this service and every 200 ms.
    fn start(target: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(path("prometheus.yml")).unwrap();
        for part in ["'127.0.0.1:9090'", "15s"] {
            assert!(config.contains(part), "{config}");
        }
        let config = config
            .replace("127.0.0.1:9090", &target.to_string())
            .replace("15s", "200ms");
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        fs::copy(path("rules.yml"), dir.path().join("rules.yml")).unwrap();
        let mut child = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .args([
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
            ])
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let addr = loop {
            let line = lines.next().expect("Prometheus ended").unwrap();
            if let Some((_, addr)) = line.split_once(r#""Listening on" address="#) {
                break addr.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            client: Client::new(addr),
            _dir: dir,
        }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.client.addr);
        let url = reqwest::Url::parse_with_params(&url, query).unwrap();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        self.client.get(&target).await.json()
    }

    /// What a query returns: the values of its series.
    async fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.get("query", &[("query", query)]).await;
        let Some(series) = answer["data"]["result"].as_array() else {
            // Prometheus has just started.
            assert_ne!(answer["status"], "error", "{query}: {answer}");
            return Vec::new();
        };
        let values = series
            .iter()
            .filter_map(|series| series["value"][1].as_str()?.parse().ok());
        values.collect()
    }

    /// The rules as it has evaluated them, by name.
    async fn rules(&self) -> Vec<Value> {
        let answer = self.get("rules", &[]).await;
        let groups = answer["data"]["groups"].as_array().cloned();
        let groups = groups.unwrap_or_default().into_iter();
        groups
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect()
    }
}

#[test]
fn promtool_accepts_configuration_and_rules_and_the_rules_fire_when_they_should() {
    promtool(&["check", "config", "examples/prometheus/prometheus.yml"]);
    promtool(&["check", "rules", "examples/prometheus/rules.yml"]);
    promtool(&["test", "rules", "tests/it/docs/prometheus/rules_test.yml"]);
}

#[test]
fn the_documentation_shows_the_alerts() {
    for page in PAGES {
        let page_path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(page_path).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `Wxlogin"));
        let documented: Vec<_> = rows
            .map(|row| {
                let quoted: Vec<_> = row.split('`').skip(1).step_by(2).collect();
                (quoted[0].to_owned(), quoted[1].replace(r"\|", "|"))
            })
            .collect();
        assert_eq!(documented, alerts(), "{page}");
    }
}

#[tokio::test]
async fn prometheus_finds_data_for_each_query_of_the_dashboard_and_evaluates_each_alert() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("SESSION_STORE", "file:s.sessions"),
        ("INTERNAL_ADDR", "127.0.0.1:0"),
    ];
    let service = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let prometheus = Prometheus::start(service.internal().addr);
    let deadline = Instant::now() + DEADLINE;

    let mut missing = dashboard_queries();
    assert!(missing.len() > 8);
    // The annotation shows restarts, and this service has started once.
    missing.retain(|query| !query.starts_with("changes(process_start_time"));
    missing.extend(alerts().iter().flat_map(|(_, query)| metrics_in(query)));
    let mut number = 0;
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "no data: {missing:#?}");
        number += 1;
        let token = service.client.token(&format!("user-alice.{number}")).await;
        service.client.session(&token).await.assert_status(200);
        let failing = format!("error-77.{number}");
        service.client.login(&failing).await.assert_status(502);
        let mut still_missing = Vec::new();
        for query in missing {
            let values = prometheus.query(&query).await;
            if values.is_empty() || values.iter().any(|value| value.is_nan()) {
                still_missing.push(query);
            }
        }
        missing = still_missing;
    }

    // The first failure of its kind, after all rules have seen the series at 0.
    let is_evaluated = |rule: &Value| {
        rule["health"] == "ok" && rule["evaluationTime"].as_f64().unwrap_or_default() > 0.0
    };
    loop {
        let rules = prometheus.rules().await;
        if rules.len() == alerts().len() && rules.iter().all(is_evaluated) {
            break;
        }
        assert!(Instant::now() < deadline, "{rules:#?}");
    }
    service.client.login("error-40125").await.assert_status(500);
    loop {
        let rules = prometheus.rules().await;
        let state = rules
            .iter()
            .find(|rule| rule["name"] == "WxloginMisconfigured");
        if state.is_some_and(|rule| rule["state"] == "firing") {
            break;
        }
        assert!(Instant::now() < deadline, "{rules:#?}");
    }
    let quiet = ["WxloginDown", "WxloginStoreErrors", "WxloginQuotaExhausted"];
    for rule in prometheus.rules().await {
        if quiet.iter().any(|name| rule["name"] == *name) {
            assert_eq!(rule["state"], "inactive", "{rule:#}");
        }
    }
}
