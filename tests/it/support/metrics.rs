//! Reads `GET /metrics`.

use std::collections::BTreeMap;

use crate::support::client::Client;

/// The text of all metrics.
pub async fn text(metrics: &Client) -> String {
    let answer = metrics.get("/metrics").await;
    answer.assert_status(200);
    let content_type = answer.header("content-type").unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
    answer.text
}

/// The numbers by name and labels.
pub async fn numbers(metrics: &Client) -> BTreeMap<String, f64> {
    let text = text(metrics).await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, number) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), number.parse().unwrap())
        })
        .collect()
}
