//! The names, labels and buckets of the metrics.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    Result,
};

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
const STORE_OPERATIONS: [&str; 10] = [
    "create",
    "find",
    "exchanged",
    "keys",
    "newest_key",
    "list",
    "count_failure",
    "end",
    "end_all",
    "check",
];

/// How a login ends: the `code` of its problem, and WeChat's errcode if one was the reason.
#[rustfmt::skip] // a table
pub(super) const LOGIN_OUTCOMES: [[&str; 2]; 33] = [
    ["ok", "none"],
    ["missing_code", "none"], ["malformed_code", "none"], ["mock_code", "none"], ["unknown_app", "none"],
    ["invalid_code", "40029"], ["invalid_code", "41029"], ["code_used", "40163"], ["code_used", "none"], ["user_blocked", "40226"],
    ["rate_limited", "45011"], ["quota_exhausted", "45009"],
    ["misconfigured", "40001"], ["misconfigured", "40002"], ["misconfigured", "40013"],
    ["misconfigured", "40066"], ["misconfigured", "40125"], ["misconfigured", "40164"],
    ["misconfigured", "40243"], ["misconfigured", "41002"], ["misconfigured", "41004"],
    ["misconfigured", "41008"], ["misconfigured", "48001"], ["misconfigured", "50002"],
    ["misconfigured", "61003"],
    ["upstream_unreachable", "none"], ["upstream_invalid", "none"], ["upstream_timeout", "none"],
    ["upstream_busy", "-1"], ["upstream_error", "other"],
    ["overloaded", "none"], ["store_unavailable", "none"], ["internal", "none"],
];

/// Makes metrics and registers them. Names are given without `wxlogin_`.
pub(super) struct Exporter<'a>(pub(super) &'a Registry);

impl Exporter<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::with_opts(opts(name, help))?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::with_opts(opts(name, help))?)
    }

    pub(super) fn build_info(&self) -> Result<()> {
        let opts = opts("build_info", "Always 1; the version is in the label");
        let opts = opts.const_label("version", env!("CARGO_PKG_VERSION"));
        self.add(IntGauge::with_opts(opts)?)
            .map(|build_info| build_info.set(1))
    }

    pub(super) fn requests(&self) -> Result<IntCounterVec> {
        let help = "Requests that were answered; the status 499 is a client that went before";
        let labels = ["method", "route", "status"];
        self.add(IntCounterVec::new(opts("requests_total", help), &labels)?)
    }

    pub(super) fn request_duration(&self) -> Result<HistogramVec> {
        let help = "Time from the headers of a request to its answer";
        let opts = histogram("request_duration_seconds", help, &REQUEST_BUCKETS);
        self.add(HistogramVec::new(opts, &["route"])?)
    }

    pub(super) fn exchange_duration(&self) -> Result<Histogram> {
        let help = "Time that WeChat took for an exchange, all attempts together";
        let opts = histogram("exchange_duration_seconds", help, &EXCHANGE_BUCKETS);
        self.add(Histogram::with_opts(opts)?)
    }

    pub(super) fn logins(&self) -> Result<IntCounterVec> {
        let opts = opts("logins_total", "Logins by outcome and WeChat's errcode");
        let logins = self.add(IntCounterVec::new(opts, &["outcome", "errcode"])?)?;
        for labels in &LOGIN_OUTCOMES {
            logins.with_label_values(labels);
        }
        Ok(logins)
    }

    pub(super) fn wechat_calls(&self) -> Result<IntCounterVec> {
        let opts = opts(
            "wechat_calls_total",
            "Calls to WeChat by outcome, retries not counted",
        );
        self.add(IntCounterVec::new(opts, &["call", "appid", "outcome"])?)
    }

    pub(super) fn wechat_refusals(&self) -> Result<IntCounterVec> {
        let help = "Calls to WeChat that it refused, by its errcode";
        let labels = ["call", "appid", "errcode"];
        self.add(IntCounterVec::new(
            opts("wechat_refusals_total", help),
            &labels,
        )?)
    }

    pub(super) fn store_duration(&self) -> Result<HistogramVec> {
        let help = "Time that the session store took";
        let opts = histogram("store_duration_seconds", help, &STORE_BUCKETS);
        let durations = self.add(HistogramVec::new(opts, &["operation"])?)?;
        for operation in STORE_OPERATIONS {
            durations.with_label_values(&[operation]);
        }
        Ok(durations)
    }

    pub(super) fn store_errors(&self) -> Result<IntCounterVec> {
        let help = "Operations of the session store that failed";
        let opts = opts("store_errors_total", help);
        let errors = self.add(IntCounterVec::new(opts, &["operation"])?)?;
        for operation in STORE_OPERATIONS {
            errors.with_label_values(&[operation]);
        }
        Ok(errors)
    }

    pub(super) fn store_damage(&self) -> Result<IntCounterVec> {
        let help = "Damage that SQLite has reported, and sessions that do not fit their token";
        let opts = opts("store_damage_total", help);
        let damage = self.add(IntCounterVec::new(opts, &["what"])?)?;
        damage.with_label_values(&["database"]);
        damage.with_label_values(&["row"]);
        Ok(damage)
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("wxlogin")
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    let opts = HistogramOpts::new(name, help).namespace("wxlogin");
    opts.buckets(buckets.to_vec())
}
