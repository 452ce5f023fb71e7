//! What is counted, for Prometheus: amounts and times, never who. Every label has few values.

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds. WeChat takes 50 to 200 ms, or until `WECHAT_TIMEOUT`.
const EXCHANGE_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0];
/// Seconds. From a lookup in memory to a disk that stands still.
const STORE_BUCKETS: [f64; 10] = [
    0.000_01, 0.000_05, 0.000_2, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0,
];

/// The numbers of one process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    /// The one of them that is counted most.
    good_logins: Counter,
    repeats: Counter,
    exchanges: Histogram,
    exchanges_in_flight: Gauge,
    store: Family<StoreLabels, Histogram, fn() -> Histogram>,
    /// The operations that every login or lookup has: to look a label up costs more than to count.
    often: [(&'static str, Histogram); 3],
    store_errors: Family<StoreLabels, Counter>,
    sessions_opened: Counter,
    sessions_ended: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    outcome: &'static str,
    errcode: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    operation: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let logins = Family::<LoginLabels, Counter>::default();
        let good = LoginLabels {
            outcome: "ok",
            errcode: "none".into(),
        };
        let store: Family<StoreLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(STORE_BUCKETS));
        let often = ["create", "find", "exchanged"].map(|operation| {
            let histogram = store.get_or_create_owned(&StoreLabels { operation });
            (operation, histogram)
        });
        let mut metrics = Self {
            good_logins: logins.get_or_create_owned(&good),
            logins,
            registry: Registry::with_prefix("wxlogin"),
            requests: Family::default(),
            repeats: Counter::default(),
            exchanges: Histogram::new(EXCHANGE_BUCKETS),
            exchanges_in_flight: Gauge::default(),
            store,
            often,
            store_errors: Family::default(),
            sessions_opened: Counter::default(),
            sessions_ended: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let all = &mut self.registry;
        all.register(
            "requests",
            "Requests that were answered",
            self.requests.clone(),
        );
        all.register("logins", "Logins by their outcome", self.logins.clone());
        let help =
            "Logins that were answered without asking WeChat, from the outcome of the same code";
        all.register("login_repeats", help, self.repeats.clone());
        let help = "How long WeChat took for an exchange, all tries together";
        all.register_with_unit(
            "exchange_duration",
            help,
            Unit::Seconds,
            self.exchanges.clone(),
        );
        let help = "Exchanges that run now";
        all.register(
            "exchanges_in_flight",
            help,
            self.exchanges_in_flight.clone(),
        );
        let help = "How long the session store took";
        all.register_with_unit("store_duration", help, Unit::Seconds, self.store.clone());
        let help = "Operations that the session store failed";
        all.register("store_errors", help, self.store_errors.clone());
        let help = "Sessions that began with a login";
        all.register("sessions_opened", help, self.sessions_opened.clone());
        let help = "Requests that ended one session or all of a user; expiry is not counted";
        all.register("sessions_ended", help, self.sessions_ended.clone());
    }

    /// All numbers in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A String takes everything that is written to it.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// A request was answered. `route` is one of ours or "none".
    pub(crate) fn answered(&self, method: &'static str, route: &str, status: u16) {
        let labels = RequestLabels {
            method,
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// A login succeeded.
    pub(crate) fn logged_in(&self) {
        self.good_logins.inc();
    }

    /// A login failed. `errcode` is one that has a meaning here, "other" or "none".
    pub(crate) fn not_logged_in(&self, outcome: &'static str, errcode: String) {
        self.logins
            .get_or_create(&LoginLabels { outcome, errcode })
            .inc();
    }

    /// A login did not have to ask WeChat.
    pub(crate) fn repeat(&self) {
        self.repeats.inc();
    }

    /// An exchange begins; it ends when what this returns is dropped.
    pub(crate) fn exchange(&self) -> impl Drop + '_ {
        self.exchanges_in_flight.inc();
        Exchange {
            metrics: self,
            begin: Instant::now(),
        }
    }

    /// The store did something, or failed to.
    pub(crate) fn stored(&self, operation: &'static str, duration: Duration, failed: bool) {
        let seconds = duration.as_secs_f64();
        match self.often.iter().find(|(name, _)| *name == operation) {
            Some((_, histogram)) => histogram.observe(seconds),
            None => self
                .store
                .get_or_create(&StoreLabels { operation })
                .observe(seconds),
        }
        if failed {
            let labels = StoreLabels { operation };
            self.store_errors.get_or_create(&labels).inc();
        }
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

struct Exchange<'a> {
    metrics: &'a Metrics,
    begin: Instant,
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.metrics.exchanges_in_flight.dec();
        let seconds = self.begin.elapsed().as_secs_f64();
        self.metrics.exchanges.observe(seconds);
    }
}
