//! Waits for a condition, and fails if it does not come.

use std::time::Duration;

use crate::fake_wechat::FakeWechat;

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// Waits until WeChat is asked for this code.
pub async fn asked_for(wechat: &FakeWechat, code: &str) {
    eventually(code, async || wechat.requests_for(code) > 0).await;
}
