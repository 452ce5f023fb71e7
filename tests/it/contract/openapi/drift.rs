//! The code, `docs/openapi.yaml` and the tables of both languages have the same routes, failures and actions;
//! each has its metrics.

use std::collections::BTreeSet;
use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use wxlogin::wechat::{Call, Meaning};

use super::problems::{Failures, failures};
use super::{DESCRIPTION, root};
use crate::fake_wechat::APPID;
use crate::support::app::TestApp;
use crate::support::backend::{self, Backend};
use crate::support::metrics::numbers;
use crate::support::yaml;

const PAGES: [&str; 2] = ["docs/en/http-api.md", "docs/zh-CN/http-api.md"];

/// Method and path.
type Routes = BTreeSet<(String, String)>;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The operations of the description.
pub fn described_routes() -> Routes {
    let description = yaml::read(DESCRIPTION);
    let mut routes = Routes::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete", "put", "patch", "head", "options"] {
            if item.get(method).is_some() {
                routes.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    routes
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

/// The rows of the description's table.
fn described_failures(description: &Value) -> Failures {
    let rows = &description["components"]["schemas"]["ErrorCode"]["x-failures"];
    let rows = rows.as_object().unwrap().iter().map(|(code, row)| {
        let one = [row["status"].clone()];
        let statuses = row["status"].as_array().map_or(&one[..], Vec::as_slice);
        let statuses = statuses
            .iter()
            .map(|it| it.as_u64().unwrap().try_into().unwrap());
        (code.clone(), (statuses.collect(), texts(&row["actions"])))
    });
    rows.collect()
}

/// The codes of a described response: its description names them.
fn codes(response: &Value) -> BTreeSet<String> {
    if response["content"]
        .get("application/problem+json")
        .is_none()
    {
        return BTreeSet::new();
    }
    let description = response["description"].as_str().unwrap();
    quoted(description).map(str::to_owned).collect()
}

/// The cells of the table under a heading, without the head.
fn table<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = page.lines().skip_while(|line| *line != heading);
    let rows = lines.skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").collect())
        .collect()
}

/// The texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The tables of routes, by their headings.
fn documented_routes(page: &str, headings: [&str; 2]) -> Routes {
    let rows = headings.iter().flat_map(|heading| table(page, heading));
    let mut routes = Routes::new();
    for row in rows {
        let requests = quoted(row[0]).filter_map(|text| text.split_once(' '));
        for (method, target) in requests.filter(|(_, target)| target.starts_with('/')) {
            let path = target.split('?').next().unwrap();
            routes.insert((method.to_owned(), path.to_owned()));
        }
    }
    routes
}

fn documented_failures(page: &str, heading: &str) -> Failures {
    let rows = table(page, heading).into_iter().map(|row| {
        let code = quoted(row[0]).next().unwrap().to_owned();
        let actions = quoted(row[2]).map(str::to_owned).collect();
        let words = row[1].split(|c: char| !c.is_ascii_digit());
        (
            code,
            (
                words.filter_map(|word| word.parse().ok()).collect(),
                actions,
            ),
        )
    });
    rows.collect()
}

/// The routes with series in the metrics.
async fn counted_routes(app: &TestApp) -> Routes {
    let numbers = numbers(&app.internal).await;
    let labels = numbers.keys().filter_map(|name| {
        let (_, labels) = name.split_once("wxlogin_requests_total{method=\"")?;
        let (method, rest) = labels.split_once("\",route=\"")?;
        Some((
            method.to_owned(),
            rest.split('"').next()?.replace("{*", "{"),
        ))
    });
    labels.filter(|(_, route)| route != "none").collect()
}

#[tokio::test]
async fn every_route_is_counted_and_its_path_is_loggable() {
    let app = backend::start(&[]).await;
    let counted = counted_routes(&app).await;
    let backend = Backend::of(&app);
    let counted_paths: BTreeSet<_> = counted.iter().map(|(_, path)| path.clone()).collect();
    for route in counted_paths {
        let path = route
            .replace("{appid}", APPID)
            .replace("{openid}", "o1")
            .replace("{path}", "x");
        let mut answer = app.client.send(Method::PATCH, &path, &[]).await;
        if answer.status == StatusCode::NOT_FOUND {
            answer = backend.ask(Method::PATCH, &path).await;
        }
        answer.assert_status(405);
        let allowed = answer.header("allow").unwrap().split(',');
        let allowed: BTreeSet<_> = allowed.filter(|method| *method != "HEAD").collect();
        let with_series = counted.iter().filter(|(_, path)| *path == route);
        assert_eq!(
            allowed,
            with_series.map(|(method, _)| method.as_str()).collect(),
            "{route}: ROUTES in src/api.rs"
        );

        let segments = route.split('/').map(|segment| match segment.get(..1) {
            Some("{") => "…",
            _ => segment,
        });
        let segments: Vec<_> = segments.collect();
        let redacted = segments.join("/");
        let answer = app.client.get(&format!("{path}/x")).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains(&format!(" {redacted}/… ")),
            "{route}: {detail}"
        );
    }
}

#[tokio::test]
async fn every_outcome_of_a_login_and_every_status_has_a_series() {
    let app = backend::start(&[]).await;
    let numbers = numbers(&app.internal).await;
    let has_series = |metric: &str, label: &str| {
        let mut names = numbers.keys();
        names.any(|name| name.starts_with(metric) && name.contains(label))
    };
    for errcode in -1000..100_000 {
        let meaning = Meaning::of(Call::CodeToSession, errcode);
        assert!(
            meaning == Meaning::Unknown
                || has_series("wxlogin_logins_total", &format!("errcode=\"{errcode}\"")),
            "{errcode} has no series: {meaning:?}"
        );
    }
    let description = yaml::read(DESCRIPTION);
    let responses = &description["paths"]["/onLogin"]["get"]["responses"];
    for response in responses.as_object().unwrap().values() {
        let Some(name) = response.get("$ref").and_then(Value::as_str) else {
            continue;
        };
        let response = description.pointer(name.trim_start_matches('#')).unwrap();
        for code in codes(response) {
            assert!(
                has_series("wxlogin_logins_total", &format!("outcome=\"{code}\"")),
                "add {code} to LOGIN_OUTCOMES in src/metrics/series.rs"
            );
        }
    }
    for (code, (statuses, _)) in &failures()[1] {
        for status in statuses {
            assert!(
                has_series("wxlogin_requests_total", &format!("status=\"{status}\"")),
                "add {status}, of {code}, to STATUSES in src/metrics/series.rs"
            );
        }
    }
}

#[tokio::test]
async fn every_route_is_described_and_documented() {
    let app = backend::start(&[]).await;
    let served = counted_routes(&app).await;
    assert!(!served.is_empty());
    assert_eq!(described_routes(), served, "{DESCRIPTION}");
    for (page, headings) in PAGES.into_iter().zip([
        ["## Public listener", "## Internal listener"],
        ["## 公开端口", "## 内部端口"],
    ]) {
        let documented = documented_routes(&read(page), headings);
        assert_eq!(documented, served, "{page}");
    }
}

#[test]
fn every_failure_is_described_and_documented_with_its_status_and_actions() {
    let [of_logins, of_all] = failures();
    let description = yaml::read(DESCRIPTION);
    let described = described_failures(&description);
    assert_eq!(described, of_all, "{DESCRIPTION}");
    let enumeration = texts(&description["components"]["schemas"]["ErrorCode"]["enum"]);
    assert_eq!(enumeration, described.into_keys().collect());
    for (page, heading) in PAGES.into_iter().zip(["### Error codes", "### 错误码"]) {
        let documented = documented_failures(&read(page), heading);
        assert_eq!(documented, of_logins, "{page}");
    }
}

#[test]
fn every_action_is_described_and_documented() {
    let description = yaml::read(DESCRIPTION);
    let described = texts(&description["components"]["schemas"]["Action"]["enum"]);
    let coded = wxlogin::Action::ALL.map(|action| serde_json::to_value(action).unwrap());
    let coded: BTreeSet<_> = coded
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(described, coded);
    for (page, heading) in PAGES.into_iter().zip(["### Actions", "### action"]) {
        let page = read(page);
        let rows = table(&page, heading).into_iter();
        let documented: BTreeSet<_> = rows
            .map(|row| quoted(row[0]).next().unwrap().to_owned())
            .collect();
        assert_eq!(documented, coded, "{heading}");
    }
}

#[test]
fn the_description_has_the_version_of_the_crate() {
    let description = yaml::read(DESCRIPTION);
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_response_has_the_status_of_its_codes_and_every_code_a_response() {
    let description = yaml::read(DESCRIPTION);
    let failures = described_failures(&description);
    let responses = &description["components"]["responses"];
    let mut named = BTreeSet::new();
    for item in description["paths"].as_object().unwrap().values() {
        let operations = item.as_object().unwrap().values();
        for operation in operations.filter(|it| it.get("responses").is_some()) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let Some(name) = response.get("$ref").and_then(Value::as_str) else {
                    continue;
                };
                let response = &responses[name.rsplit('/').next().unwrap()];
                let codes = codes(response);
                assert_eq!(codes.is_empty(), status.starts_with('2'), "{name}");
                for code in codes {
                    let statuses = &failures[&code].0;
                    assert!(statuses.contains(&status.parse().unwrap()), "{code}");
                    named.insert(code);
                }
            }
        }
    }
    // It is the response to methods without an operation.
    named.insert("method_not_allowed".to_owned());
    assert_eq!(named, failures.into_keys().collect());
}
