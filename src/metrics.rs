//! Metrics for Prometheus: how many and how long, never who. Labels have few values, and the series
//! that can be foreseen exist from the start, so that `increase()` sees a first failure.

mod counted;
mod series;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "server")]
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
    TextEncoder,
};

#[cfg(feature = "server")]
use crate::telemetry;
use crate::wechat::{Error, Meaning, OUTCOMES};
pub(crate) use counted::Counted;
use series::{Exporter, LOGIN_OUTCOMES, STATUSES};

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
    connections: IntGauge,
    logins: IntCounterVec,
    good_logins: IntCounter,
    login_repeats: IntCounter,
    wechat_calls: IntCounterVec,
    wechat_refusals: IntCounterVec,
    exchange_duration: Histogram,
    exchanges_in_flight: IntGauge,
    sessions_opened: IntCounter,
    sessions_ended: IntCounter,
    store_duration: HistogramVec,
    store_errors: IntCounterVec,
    store_damage: IntCounterVec,
    sessions: IntGauge,
    #[cfg(feature = "file-store")]
    store_bytes: IntGauge,
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            started: now.map_or(0.0, |now| now.as_secs_f64().floor()),
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
            wechat_calls: exporter.wechat_calls()?,
            wechat_refusals: exporter.wechat_refusals()?,
            exchange_duration: exporter.exchange_duration()?,
            exchanges_in_flight: exporter.gauge("exchanges_in_flight", "Exchanges in flight")?,
            sessions_opened: exporter
                .counter("sessions_opened_total", "Sessions that began with a login")?,
            sessions_ended: exporter.counter(
                "sessions_ended_total",
                "Requests that ended one session or all of a user; expiry is not counted",
            )?,
            store_duration: exporter.store_duration()?,
            store_errors: exporter.store_errors()?,
            store_damage: exporter.store_damage()?,
            sessions: IntGauge::new(
                "wxlogin_sessions",
                "Sessions that the store holds, also those that were ended or have expired and are not deleted yet",
            )?,
            #[cfg(feature = "file-store")]
            store_bytes: IntGauge::new(
                "wxlogin_store_bytes",
                "Bytes of the session store, without the write-ahead log",
            )?,
            registry,
        })
    }

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
        #[cfg(feature = "server")]
        families.extend(dropped_lines());
        let mut text = String::new();
        // Fails if a metric has no value; each of ours has one.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }

    /// The number of sessions in the store of this process, which sets it. It is shown from the first call on.
    pub(crate) fn sessions(&self) -> IntGauge {
        self.shown(&self.sessions)
    }

    /// The size of the store of this process, which sets it. It is shown from the first call on.
    #[cfg(feature = "file-store")]
    pub(crate) fn store_bytes(&self) -> IntGauge {
        self.shown(&self.store_bytes)
    }

    fn shown(&self, gauge: &IntGauge) -> IntGauge {
        // Fails if it is registered already.
        let _ = self.registry.register(Box::new(gauge.clone()));
        gauge.clone()
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
        // That of a call that is passed through can be any.
        let status = STATUSES.into_iter().find(|known| *known == status);
        let labels = [method, route, status.unwrap_or("other")];
        self.requests.with_label_values(&labels).inc();
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

    /// Makes the series of calls for a Mini Program, which begin at 0.
    pub(crate) fn add_calls<'a>(&self, appid: &str, calls: impl IntoIterator<Item = &'a str>) {
        for call in calls {
            for outcome in OUTCOMES {
                let labels = [call, appid, outcome];
                self.wechat_calls.with_label_values(&labels);
            }
        }
    }

    /// A call to WeChat has ended; `None` is a good answer.
    pub(crate) fn called_wechat(&self, call: &str, appid: &str, error: Option<&Error>) {
        let outcome = error.map_or(OUTCOMES[0], Error::outcome);
        let labels = [call, appid, outcome];
        self.wechat_calls.with_label_values(&labels).inc();
        if let Some(refusal) = error.and_then(Error::refusal) {
            let errcode = match refusal.meaning() {
                Meaning::Unknown => "other".to_owned(),
                _ => refusal.errcode.0.to_string(),
            };
            let labels = [call, appid, &errcode];
            self.wechat_refusals.with_label_values(&labels).inc();
        }
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

    /// An operation of the session store has ended.
    pub(crate) fn store_operation(&self, operation: &str, duration: Duration, failed: bool) {
        let durations = self.store_duration.with_label_values(&[operation]);
        durations.observe(duration.as_secs_f64());
        if failed {
            self.store_errors.with_label_values(&[operation]).inc();
        }
    }

    /// Damage of the session store: of its `database`, or of a `row`.
    pub(crate) fn store_damage(&self, what: &str) -> IntCounter {
        self.store_damage.with_label_values(&[what])
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
fn dropped_lines() -> Vec<prometheus::proto::MetricFamily> {
    let help = "Log lines that were dropped: standard error was too slow or refused them";
    let dropped = IntCounter::new("wxlogin_log_lines_dropped_total", help);
    dropped.map_or_else(
        |_| Vec::new(),
        |dropped| {
            dropped.inc_by(telemetry::dropped_lines());
            dropped.collect()
        },
    )
}
