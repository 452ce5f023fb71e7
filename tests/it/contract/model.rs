//! A model of one code, one exchange: whatever happens, in whatever order, WeChat is asked at most
//! once for a code inside the window, and nobody becomes a user whom WeChat did not name.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::fake_wechat::openid;
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::redis_server::RedisServer;
use crate::support::wait::eventually;

const WINDOW: u64 = 60;

/// An event. Codes have numbers.
#[derive(Debug, Clone)]
enum Event {
    /// A login, with a code that WeChat accepts or one that it refuses.
    Login(u8, Kind),
    /// Three at once.
    Burst(u8, Kind),
    /// A login whose client hangs up in mid-exchange.
    HangUp(u8),
    /// The store starts or stops refusing writes.
    StoreFails(bool),
    /// The clock advances.
    Forward(u64),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Good,
    Refused,
    Broken,
}

fn event() -> impl Strategy<Value = Event> {
    let kind =
        prop_oneof![3 => Just(Kind::Good), 1 => Just(Kind::Refused), 1 => Just(Kind::Broken)];
    prop_oneof![
        6 => (0_u8..4, kind.clone()).prop_map(|(code, kind)| Event::Login(code, kind)),
        2 => (0_u8..4, kind).prop_map(|(code, kind)| Event::Burst(code, kind)),
        2 => (0_u8..4).prop_map(Event::HangUp),
        2 => any::<bool>().prop_map(Event::StoreFails),
        2 => (1_u64..80).prop_map(Event::Forward),
    ]
}

/// The expected state of a code.
#[derive(Default)]
struct Code {
    /// Exchanges that WeChat has seen.
    exchanges: usize,
    /// The remembered outcome.
    memory: Option<Memory>,
}

#[derive(Clone, Copy)]
struct Memory {
    outcome: Outcome,
    /// By the service's clock.
    until: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    Good,
    /// WeChat named a user, but the store failed.
    NotStored,
    Refused(&'static str),
}

struct World {
    app: TestApp,
    now: u64,
    store_fails: bool,
    codes: HashMap<String, Code>,
}

impl World {
    /// The expected outcome of a login now; updates the model.
    fn expect(&mut self, text: &str, kind: Kind) -> Outcome {
        let (now, fails) = (self.now, self.store_fails);
        let code = self.codes.entry(text.to_owned()).or_default();
        let known = code.memory.filter(|memory| now < memory.until);
        let outcome = match known.map(|memory| memory.outcome) {
            Some(Outcome::Refused(why)) => return Outcome::Refused(why),
            // A repeat needs the store, but a failure does not change the outcome of the code.
            Some(Outcome::Good) if fails => return Outcome::NotStored,
            Some(Outcome::Good) => return Outcome::Good,
            Some(Outcome::NotStored) => stored(fails),
            None => {
                code.exchanges += 1;
                match kind {
                    Kind::Good if code.exchanges > 1 => Outcome::Refused("code_used"),
                    Kind::Good => stored(fails),
                    // Scripted failures fail each time.
                    Kind::Refused => Outcome::Refused("invalid_code"),
                    Kind::Broken => Outcome::Refused("upstream_invalid"),
                }
            }
        };
        // A second failure of the store does not prolong the time for which the user is kept.
        let until = match (known, outcome) {
            (Some(memory), Outcome::NotStored) => memory.until,
            _ => now + WINDOW,
        };
        code.memory = Some(Memory { outcome, until });
        outcome
    }

    fn check(&self, text: &str, answer: &Answer, expected: Outcome) {
        match expected {
            Outcome::Good => {
                answer.assert_status(200);
                assert_eq!(
                    answer.json()["openid"],
                    openid(text.split(['-', '.']).nth(1).unwrap())
                );
            }
            Outcome::NotStored => {
                answer.assert_problem(503, "store_unavailable", "login_again");
            }
            Outcome::Refused(code) => assert_eq!(answer.json()["code"], code, "{}", answer.text),
        }
        self.check_exchanges(text);
    }

    fn check_exchanges(&self, text: &str) {
        assert_eq!(
            self.app.wechat.requests_for(text),
            self.codes[text].exchanges,
            "{text}"
        );
    }
}

fn stored(fails: bool) -> Outcome {
    if fails {
        Outcome::NotStored
    } else {
        Outcome::Good
    }
}

fn text(code: u8, kind: Kind) -> String {
    match kind {
        Kind::Good => format!("user-{code}"),
        Kind::Refused => format!("error-40029.{code}"),
        Kind::Broken => format!("garbage.{code}"),
    }
}

async fn run(events: Vec<Event>, redis: &RedisServer) {
    redis.cli(&["FLUSHALL"]);
    fail_writes(redis, false);
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let now = app.clock.clock().now();
    let mut world = World {
        app,
        now,
        store_fails: false,
        codes: HashMap::new(),
    };
    for event in events {
        match event {
            Event::Login(code, kind) => {
                let text = text(code, kind);
                let expected = world.expect(&text, kind);
                let answer = world.app.client.login(&text).await;
                world.check(&text, &answer, expected);
            }
            Event::Burst(code, kind) => {
                let text = text(code, kind);
                let expected = world.expect(&text, kind);
                let requests = [(); 3].map(|()| world.app.client.login(&text));
                for answer in futures_util::future::join_all(requests).await {
                    world.check(&text, &answer, expected);
                }
            }
            Event::HangUp(code) => hang_up(&mut world, code).await,
            Event::StoreFails(fails) => {
                fail_writes(redis, fails);
                world.store_fails = fails;
            }
            Event::Forward(seconds) => {
                world.app.clock.forward(seconds);
                world.now += seconds;
                forward_exchanges(redis, seconds);
            }
        }
    }
}

/// Starts a login of 30 ms, cancels it half-way, and waits until the exchange has ended.
async fn hang_up(world: &mut World, code: u8) {
    let text = format!("slow-30.{code}");
    let before = world.codes.get(&text).map_or(0, |code| code.exchanges);
    world.expect(&text, Kind::Good);
    let mut gone = TcpStream::connect(world.app.client.addr).await.unwrap();
    let request = format!("GET /onLogin?code={text} HTTP/1.1\r\nhost: x\r\n\r\n");
    gone.write_all(request.as_bytes()).await.unwrap();
    // The service must have got the request, or it would act on it during a later event.
    let exchanges = world.codes[&text].exchanges;
    let arrived = async {
        if exchanges == before {
            gone.read_u8().await.unwrap(); // its answer
        }
        eventually("WeChat is asked", async || {
            world.app.wechat.requests_for(&text) >= exchanges
        })
        .await;
    };
    let arrived = tokio::time::timeout(Duration::from_secs(20), arrived).await;
    arrived.expect("WeChat is not asked");
    drop(gone);
    // A request now joins the exchange in flight.
    let expected = world.expect(&text, Kind::Good);
    let answer = world.app.client.login(&text).await;
    match expected {
        Outcome::Good => assert_eq!(answer.json()["openid"], openid("slow"), "{}", answer.text),
        _ => assert_ne!(answer.status, 200),
    }
    world.check_exchanges(&text);
}

/// Advances Redis' time too, which expires exchanges by its own clock.
fn forward_exchanges(redis: &RedisServer, seconds: u64) {
    let script = "for _, key in ipairs(redis.call('KEYS', 'wxlogin2:exchange:*')) do
        redis.call('EXPIRE', key, redis.call('TTL', key) - ARGV[1])
    end";
    redis.cli(&["-n", "3", "EVAL", script, "0", &seconds.to_string()]);
}

fn fail_writes(redis: &RedisServer, fail: bool) {
    let rule = if fail { "-set" } else { "+set" };
    assert_eq!(redis.cli(&["ACL", "SETUSER", "default", rule]).trim(), "OK");
}

#[test]
fn a_service_behaves_like_its_model() {
    behaves_like_its_model(10);
}

#[test]
#[ignore = "minutes"]
fn a_service_behaves_like_its_model_for_minutes() {
    behaves_like_its_model(60);
}

fn behaves_like_its_model(cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let redis = RedisServer::start();
    let runtime = Runtime::new().unwrap();
    let events = proptest::collection::vec(event(), 1..40);
    TestRunner::new(config)
        .run(&events, |events| {
            runtime.block_on(run(events, &redis));
            Ok(())
        })
        .unwrap();
}
