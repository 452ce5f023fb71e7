//! Metrics for Prometheus: how many and how long, never who. Labels have few values, and the series
//! that can be foreseen exist from the start, so that `increase()` sees a first failure.

mod series;

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "server")]
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder,
};

use crate::wechat::{Error, Observer};
use series::STATUSES;

/// The content type of what [`WxLogin::metrics_text`](crate::WxLogin::metrics_text) gives.
pub use prometheus::TEXT_FORMAT as CONTENT_TYPE;

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    /// In Unix seconds.
    started: f64,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    #[cfg(feature = "server")]
    pub(crate) connections: IntGauge,
    /// By the `code` of the problem, and WeChat's errcode: one that has a meaning here, "other" or "none".
    pub(crate) logins: IntCounterVec,
    pub(crate) good_logins: IntCounter,
    pub(crate) login_repeats: IntCounter,
    wechat_calls: IntCounterVec,
    wechat_refusals: IntCounterVec,
    pub(crate) exchange_duration: Histogram,
    pub(crate) exchanges_in_flight: IntGauge,
    pub(crate) sessions_opened: IntCounter,
    pub(crate) sessions_ended: IntCounter,
    store_duration: HistogramVec,
    store_errors: IntCounterVec,
    /// Of the `database`, or of a `row`.
    pub(crate) store_damage: IntCounterVec,
    pub(crate) sessions: IntGauge,
    #[cfg(feature = "file-store")]
    pub(crate) store_bytes: IntGauge,
}

impl Metrics {
    /// All metrics in Prometheus' text format 0.0.4.
    pub(crate) fn text(&self) -> String {
        let mut families = self.registry.gather();
        for family in &mut families {
            // 0 where `/proc` shows processes only, as under ProcSubset=pid of systemd.
            if family.name() == "process_start_time_seconds" {
                for metric in family.mut_metric() {
                    let mut started = prometheus::proto::Gauge::default();
                    started.set_value(self.started);
                    metric.set_gauge(started);
                }
            }
        }
        // The log writer counts them, for the whole process.
        #[cfg(feature = "server")]
        if let Ok(dropped) = IntCounter::new(
            "wxlogin_log_lines_dropped_total",
            "Log lines that were dropped: standard error was too slow or refused them",
        ) {
            dropped.inc_by(crate::telemetry::dropped_lines());
            families.extend(dropped.collect());
        }
        let mut text = String::new();
        // Fails if a metric has no value; each of ours has one.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }

    /// Shows a gauge from now on; the store of this process sets it.
    pub(crate) fn shown(&self, gauge: &IntGauge) -> IntGauge {
        // Fails if it is shown already.
        let _ = self.registry.register(Box::new(gauge.clone()));
        gauge.clone()
    }

    /// Counts a response. `method`, `route` and `status` must each be one of few.
    pub(crate) fn answered(&self, method: &str, route: &str, status: &str, duration: Duration) {
        // That of a call that is passed through can be any.
        let status = STATUSES.into_iter().find(|known| *known == status);
        let labels = [method, route, status.unwrap_or("other")];
        self.requests.with_label_values(&labels).inc();
        let durations = self.request_duration.with_label_values(&[route]);
        durations.observe(duration.as_secs_f64());
    }

    /// Counts each call to WeChat.
    pub(crate) fn observer(self: &Arc<Self>) -> Observer {
        let metrics = self.clone();
        Box::new(move |call, appid, error| metrics.called_wechat(call.name(), appid, error))
    }

    /// A call to WeChat has ended; `None` is a good answer.
    pub(crate) fn called_wechat(&self, call: &str, appid: &str, error: Option<&Error>) {
        let outcome = match (error.and_then(Error::meaning), error) {
            (Some(meaning), _) => meaning.name(),
            (None, None) => "ok",
            (None, Some(Error::Invalid(_))) => "upstream_invalid",
            (None, Some(Error::Timeout)) => "upstream_timeout",
            (None, Some(_)) => "upstream_unreachable",
        };
        let labels = [call, appid, outcome];
        self.wechat_calls.with_label_values(&labels).inc();
        if let Some(errcode) = error.and_then(Error::errcode_label) {
            let labels = [call, appid, &errcode];
            self.wechat_refusals.with_label_values(&labels).inc();
        }
    }

    /// An operation of the session store has ended.
    pub(crate) fn store_operation(&self, operation: &str, duration: Duration, failed: bool) {
        let durations = self.store_duration.with_label_values(&[operation]);
        durations.observe(duration.as_secs_f64());
        if failed {
            self.store_errors.with_label_values(&[operation]).inc();
        }
    }
}

/// Counts in a gauge until it is dropped.
#[must_use]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
