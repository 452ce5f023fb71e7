//! Metrics for Prometheus: how many and how long, never who. Labels have few values, and the series
//! that can be foreseen exist from the start, so that `increase()` sees a first failure.

mod series;

use std::time::Duration;

#[cfg(feature = "server")]
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, PullingGauge,
    Registry, TextEncoder,
};

#[cfg(feature = "server")]
use crate::telemetry;
use series::{Exporter, LOGIN_OUTCOMES, STATUSES};

/// The content type of [`Metrics::text`].
pub use prometheus::TEXT_FORMAT as CONTENT_TYPE;

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    #[cfg(feature = "server")]
    connections: IntGauge,
    logins: IntCounterVec,
    good_logins: IntCounter,
    login_repeats: IntCounter,
    exchange_duration: Histogram,
    exchanges_in_flight: IntGauge,
    sessions_opened: IntCounter,
    sessions_ended: IntCounter,
    pub(crate) store: StoreMetrics,
}

/// The operations of the session store.
pub(crate) struct StoreMetrics {
    pub(crate) create: StoreOperation,
    pub(crate) find: StoreOperation,
    pub(crate) exchanged: StoreOperation,
    pub(crate) keys: StoreOperation,
    pub(crate) newest_key: StoreOperation,
    pub(crate) begin_attempt: StoreOperation,
    pub(crate) end_attempt: StoreOperation,
    pub(crate) end: StoreOperation,
    pub(crate) end_all: StoreOperation,
    pub(crate) check: StoreOperation,
}

/// The series of one operation of the session store.
pub(crate) struct StoreOperation {
    duration: Histogram,
    errors: IntCounter,
}

impl Metrics {
    /// Metrics that count from 0.
    ///
    /// # Errors
    /// If two of them have the same name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let exporter = Exporter(&registry);
        exporter.build_info()?;
        let logins = exporter.logins()?;
        Ok(Self {
            requests: exporter.requests()?,
            request_duration: exporter.request_duration()?,
            #[cfg(feature = "server")]
            connections: exporter.gauge("connections", "Open connections of clients")?,
            good_logins: logins.with_label_values(&LOGIN_OUTCOMES[0]),
            logins,
            login_repeats: exporter.counter(
                "login_repeats_total",
                "Logins that were answered from an earlier exchange of the same code",
            )?,
            exchange_duration: exporter.exchange_duration()?,
            exchanges_in_flight: exporter.gauge("exchanges_in_flight", "Exchanges in flight")?,
            sessions_opened: exporter
                .counter("sessions_opened_total", "Sessions that began with a login")?,
            sessions_ended: exporter.counter(
                "sessions_ended_total",
                "Requests that ended one session or all of a user; expiry is not counted",
            )?,
            store: exporter.store()?,
            registry,
        })
    }

    /// All metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// If the format cannot express a metric.
    pub fn text(&self) -> prometheus::Result<String> {
        let families = self.registry.gather();
        #[cfg(feature = "server")]
        let families = [families, dropped_lines()?].concat();
        TextEncoder::new().encode_to_string(&families)
    }

    /// Adds a gauge whose value is asked for at every scrape.
    ///
    /// # Errors
    /// If the name is taken or not valid.
    pub fn add_gauge(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> prometheus::Result<()> {
        let gauge = PullingGauge::new(name, help, Box::new(value))?;
        self.registry.register(Box::new(gauge))
    }

    /// Makes the series of a route, which begin at 0.
    pub(crate) fn add_route(&self, method: &str, route: &str) {
        for status in STATUSES {
            self.requests.with_label_values(&[method, route, status]);
        }
        self.request_duration.with_label_values(&[route]);
    }

    /// Counts a response. `method`, `route` and `status` must each be one of few.
    pub(crate) fn answered(&self, method: &str, route: &str, status: &str, duration: Duration) {
        let requests = self.requests.with_label_values(&[method, route, status]);
        requests.inc();
        let durations = self.request_duration.with_label_values(&[route]);
        durations.observe(duration.as_secs_f64());
    }

    /// A login succeeded.
    pub(crate) fn logged_in(&self) {
        self.good_logins.inc();
    }

    /// A login failed. `errcode` is one that has a meaning here, "other" or "none".
    pub(crate) fn not_logged_in(&self, outcome: &str, errcode: &str) {
        self.logins.with_label_values(&[outcome, errcode]).inc();
    }

    /// A login did not have to ask WeChat.
    pub(crate) fn repeat(&self) {
        self.login_repeats.inc();
    }

    /// An exchange begins; it ends when this is dropped.
    pub(crate) fn exchange(&self) -> (Counted, HistogramTimer) {
        let counted = Counted::new(&self.exchanges_in_flight);
        (counted, self.exchange_duration.start_timer())
    }

    /// A client has connected; the connection ends when this is dropped.
    #[cfg(feature = "server")]
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// A session began.
    pub(crate) fn session_opened(&self) {
        self.sessions_opened.inc();
    }

    /// A session was ended, or all of a user.
    pub(crate) fn session_ended(&self) {
        self.sessions_ended.inc();
    }
}

/// The log writer counts them, for the whole process.
#[cfg(feature = "server")]
fn dropped_lines() -> prometheus::Result<Vec<prometheus::proto::MetricFamily>> {
    let help = "Log lines that were dropped: standard error took them too slowly or refused them";
    let dropped = IntCounter::new("wxlogin_log_lines_dropped_total", help)?;
    dropped.inc_by(telemetry::dropped_lines());
    Ok(dropped.collect())
}

impl StoreOperation {
    /// Counts an operation and its duration.
    pub(crate) fn done(&self, duration: Duration, failed: bool) {
        self.duration.observe(duration.as_secs_f64());
        if failed {
            self.errors.inc();
        }
    }
}

/// Counts in a gauge until it is dropped.
#[must_use]
pub(crate) struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
