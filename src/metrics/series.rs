//! The names, labels and buckets of the metrics, and the series that can be foreseen.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{
    IntGauge, Registry, labels, opts, register_histogram_vec_with_registry as histograms,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};

use super::Metrics;
use crate::wechat::{Call, MEANINGS};

/// Seconds, from a lookup to a login at the end of `WECHAT_TIMEOUT`.
const REQUEST_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 5.0,
];
/// Seconds. WeChat takes 50 to 200 ms.
const EXCHANGE_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0];
/// Seconds, from a lookup in memory to a disk that hangs.
const STORE_BUCKETS: [f64; 10] = [
    0.000_01, 0.000_05, 0.000_2, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0,
];

/// The statuses of our routes; 499 is a client that closed the connection before the response.
pub(super) const STATUSES: [&str; 16] = [
    "200", "204", "400", "401", "403", "404", "405", "409", "413", "422", "429", "499", "500",
    "502", "503", "504",
];

/// The methods of the session store.
#[rustfmt::skip]
const STORE_OPERATIONS: [&str; 10] = [
    "create", "find", "exchanged", "keys", "newest_key", "list", "count_failure", "end", "end_all", "check",
];

/// How a login ends without an errcode: the `code` of its problem. The errcodes are in [`MEANINGS`].
#[rustfmt::skip]
const LOGIN_OUTCOMES: [&str; 12] = [
    "ok", "missing_code", "malformed_code", "mock_code", "unknown_app", "code_used", "upstream_unreachable",
    "upstream_invalid", "upstream_timeout", "overloaded", "store_unavailable", "internal",
];
/// How a call to WeChat ends without an errcode of [`MEANINGS`].
#[rustfmt::skip]
const CALL_OUTCOMES: [&str; 5] =
    ["ok", "upstream_error", "upstream_unreachable", "upstream_invalid", "upstream_timeout"];

impl Metrics {
    /// Metrics that count from 0.
    ///
    /// # Errors
    /// If two of them have the same name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        #[cfg(all(target_os = "linux", feature = "process-metrics"))]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let counter = |name: &str, help: &str| counter!(name, help, registry);
        let counters =
            |name: &str, help: &str, labels: &[&str]| counters!(name, help, labels, registry);
        let gauge = |name: &str, help: &str| gauge!(name, help, registry);
        let build_info = opts!(
            "wxlogin_build_info",
            "Always 1; the version is in the label",
            labels! {"version" => env!("CARGO_PKG_VERSION")}
        );
        gauge!(build_info, registry)?.set(1);
        let logins = counters(
            "wxlogin_logins_total",
            "Logins by outcome and WeChat's errcode",
            &["outcome", "errcode"],
        )?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let metrics = Self {
            started: now.map_or(0.0, |now| now.as_secs_f64().floor()),
            requests: counters(
                "wxlogin_requests_total",
                "Requests that were answered; the status 499 is a client that went before",
                &["method", "route", "status"],
            )?,
            request_duration: histograms!(
                "wxlogin_request_duration_seconds",
                "Time from the headers of a request to its answer",
                &["route"],
                REQUEST_BUCKETS.to_vec(),
                registry
            )?,
            #[cfg(feature = "server")]
            connections: gauge("wxlogin_connections", "Open connections of clients")?,
            good_logins: logins.with_label_values(&["ok", "none"]),
            logins,
            login_repeats: counter(
                "wxlogin_login_repeats_total",
                "Logins that were answered from an earlier exchange of the same code",
            )?,
            wechat_calls: counters(
                "wxlogin_wechat_calls_total",
                "Calls to WeChat by outcome, retries not counted",
                &["call", "appid", "outcome"],
            )?,
            wechat_refusals: counters(
                "wxlogin_wechat_refusals_total",
                "Calls to WeChat that it refused, by its errcode",
                &["call", "appid", "errcode"],
            )?,
            exchange_duration: histogram!(
                "wxlogin_exchange_duration_seconds",
                "Time that WeChat took for an exchange, all attempts together",
                EXCHANGE_BUCKETS.to_vec(),
                registry
            )?,
            exchanges_in_flight: gauge("wxlogin_exchanges_in_flight", "Exchanges in flight")?,
            sessions_opened: counter(
                "wxlogin_sessions_opened_total",
                "Sessions that began with a login",
            )?,
            sessions_ended: counter(
                "wxlogin_sessions_ended_total",
                "Requests that ended one session or all of a user; expiry is not counted",
            )?,
            store_duration: histograms!(
                "wxlogin_store_duration_seconds",
                "Time that the session store took",
                &["operation"],
                STORE_BUCKETS.to_vec(),
                registry
            )?,
            store_errors: counters(
                "wxlogin_store_errors_total",
                "Operations of the session store that failed",
                &["operation"],
            )?,
            store_damage: counters(
                "wxlogin_store_damage_total",
                "Damage that SQLite has reported, and sessions that do not fit their token",
                &["what"],
            )?,
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
        };
        metrics.begin();
        Ok(metrics)
    }

    /// Makes the series that do not depend on settings.
    fn begin(&self) {
        for outcome in LOGIN_OUTCOMES {
            self.logins.with_label_values(&[outcome, "none"]);
        }
        self.logins.with_label_values(&["upstream_error", "other"]);
        let is_of_logins = |calls: &[Call]| calls.contains(&Call::CodeToSession);
        for (errcodes, _, meaning) in MEANINGS.iter().filter(|row| is_of_logins(row.1)) {
            for errcode in *errcodes {
                let labels = [meaning.name(), &errcode.to_string()];
                self.logins.with_label_values(&labels);
            }
        }
        for operation in STORE_OPERATIONS {
            self.store_duration.with_label_values(&[operation]);
            self.store_errors.with_label_values(&[operation]);
        }
        for what in ["database", "row"] {
            self.store_damage.with_label_values(&[what]);
        }
    }

    /// Makes the series of a route, which begin at 0.
    pub(crate) fn add_route(&self, method: &str, route: &str) {
        for status in STATUSES {
            self.requests.with_label_values(&[method, route, status]);
        }
        self.request_duration.with_label_values(&[route]);
    }

    /// Makes the series of calls for a Mini Program, which begin at 0.
    pub(crate) fn add_calls<'a>(&self, appid: &str, calls: impl IntoIterator<Item = &'a str>) {
        for call in calls {
            let meanings = MEANINGS.iter().map(|(.., meaning)| meaning.name());
            for outcome in CALL_OUTCOMES.into_iter().chain(meanings) {
                let labels = [call, appid, outcome];
                self.wechat_calls.with_label_values(&labels);
            }
        }
    }
}
