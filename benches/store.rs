//! What the stages of a login and of a lookup cost, and how the file store grows. `cargo bench --bench store`
//!
//! CPU is the whole process' own, all threads together, by the scheduler's clock (Linux). Each stage is
//! measured alone and warm, so together they are less than a login. `SESSIONS=10000000` lets the store
//! grow to ten million sessions, which takes 5 GB on the disk and three minutes; the default is a million.
//! `DIR` is where it grows, instead of the system's directory for temporary files.
#![allow(clippy::unwrap_used, reason = "a benchmark may fail by panicking")]

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use std::{env, fs};

use secrecy::SecretBox;
use tikv_jemallocator::Jemalloc;
use tokio::task::JoinSet;
use wxlogin::clock::Clock;
use wxlogin::metrics::Metrics;
use wxlogin::one_time_codes::OneTimeCode;
use wxlogin::session::{Encryption, Exchange, Session, Settings, Store, Token, UserId};
use wxlogin::wechat::CodeSession;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const APPID: &str = "wx0123456789abcdef";
const TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Logins at the same time.
const CLIENTS: u64 = 64;
const LOGINS: u64 = 50_000;
const LOOKUPS: u64 = 200_000;

/// Added to the time since the start. The wall clock runs: ids of sessions begin with it.
static NOW: AtomicU64 = AtomicU64::new(1_800_000_000);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = env::var("DIR").map_or_else(|_| env::temp_dir(), Into::into);
    let dir = tempfile::tempdir_in(dir).unwrap();
    runtime.block_on(async {
        stages(dir.path()).await;
        growth(&dir.path().join("growth")).await;
        purge(&dir.path().join("purge")).await;
    });
}

async fn stages(dir: &Path) {
    println!("stage                                  CPU us");
    let code = OneTimeCode::parse("0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P").unwrap();
    stage("login: hash the code (SHA-256)", || code.hash(APPID));
    let answer = br#"{"session_key":"HyVFkGl5F5OQWJZZaNzBBg==","openid":"oGkj9kdQzr6JxeDdgF6Wzgs3xepK","unionid":"ouf1sjynTnx5HThsh7NIFNU6LO9n"}"#;
    stage("login: parse WeChat's answer", || {
        CodeSession::from_json(answer).unwrap()
    });
    stage("login: generate a token", || {
        Token::generate(Duration::from_secs(1_800_000_000)).unwrap()
    });
    for (name, place) in [
        ("memory", "memory:".into()),
        ("file", at(&dir.join("stages"))),
    ] {
        let store = open(&place);
        let tokens = log_in(&store, 0, LOGINS).await;
        let begin = cpu();
        log_in(&store, LOGINS, LOGINS).await;
        let (name, used) = (format!("login: encrypt and store ({name})"), cpu() - begin);
        print_stage(&name, used, LOGINS);
        let name = name.replace("login: encrypt and store", "lookup: find");
        print_stage(&name, look_up(&store, &tokens).await, LOOKUPS);
        store.close().await;
    }
}

fn stage<T>(name: &str, mut run: impl FnMut() -> T) {
    let begin = cpu();
    for _ in 0..LOOKUPS {
        black_box(run());
    }
    print_stage(name, cpu() - begin, LOOKUPS);
}

fn print_stage(name: &str, used: f64, count: u64) {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let each = used * 1e6 / count as f64;
    println!("{name:38} {each:6.2}");
}

async fn growth(path: &Path) {
    println!();
    println!(
        "sessions   CPU us/login  bytes written/login  CPU us/lookup  search us  RSS MB  bytes/session  start ms"
    );
    let most = env::var("SESSIONS").map_or(1_000_000, |most| most.parse().unwrap());
    let mut store = open(&at(path));
    let (mut count, mut size) = (0, 10_000);
    let mut tokens = Vec::new();
    while size <= most {
        // Some of all that there are, so that lookups go everywhere.
        while count < size {
            let some = 10_000.min(size - count);
            let new = log_in(&store, count, some).await;
            tokens.extend(new.into_iter().step_by((most / 200_000).max(1) as usize));
            count += some;
        }
        let bytes = size_of(path) / size;
        let (begin, before) = (cpu(), bytes_written());
        log_in(&store, count, LOGINS).await;
        let login = (cpu() - begin) * 1e6 / 50_000.0;
        let written = (bytes_written() - before) / LOGINS;
        count += LOGINS;
        let lookup = look_up(&store, &tokens).await * 1e6 / 200_000.0;
        let search = search(&store, size).await;
        let rss = rss_mb();
        store.close().await;
        // Exchanges of the last minute would be read at the start.
        NOW.fetch_add(120, Ordering::Relaxed);
        let begin = Instant::now();
        store = open(&at(path));
        let start = begin.elapsed().as_secs_f64() * 1000.0;
        println!(
            "{size:9} {login:13.2} {written:20} {lookup:14.2} {search:10.0} {rss:7} {bytes:14} {start:9.0}"
        );
        size *= 10;
    }
    store.close().await;
}

/// A million sessions expire at once: are logins slower while they are removed?
async fn purge(path: &Path) {
    let store = open(&at(path));
    log_in(&store, 0, 1_000_000).await;
    let before = size_of(path) >> 20;
    let quiet = p99(&store, 1_000_000).await;
    NOW.fetch_add(TTL.as_secs() + 3600, Ordering::Relaxed);
    let purging = p99(&store, 2_000_000).await;
    let after = size_of(path) >> 20;
    println!();
    println!(
        "logins' p99 quiet {:.2} ms, while a million sessions are removed {:.2} ms; {before} MB become {after}",
        quiet.as_secs_f64() * 1000.0,
        purging.as_secs_f64() * 1000.0,
    );
    store.close().await;
}

/// Of logins of the next three seconds, sixteen at a time.
async fn p99(store: &Arc<Store>, from: u64) -> Duration {
    let mut running = JoinSet::new();
    let begin = Instant::now();
    for client in 0..16 {
        let store = store.clone();
        running.spawn(async move {
            let (mut times, mut number) = (Vec::new(), from + client);
            while begin.elapsed() < Duration::from_secs(3) {
                let one = Instant::now();
                one_login(&store, number).await;
                times.push(one.elapsed());
                number += 16;
            }
            times
        });
    }
    let mut times = running.join_all().await.concat();
    times.sort();
    times[times.len() * 99 / 100]
}

fn at(path: &Path) -> String {
    format!("file:{}", path.display())
}

fn open(place: &str) -> Arc<Store> {
    let secret = ["0123456789abcdef0123456789abcdef".to_owned().into()];
    let encryption = Encryption::new([(APPID, &secret[..])]).unwrap();
    let settings = Settings {
        url: place.parse().unwrap(),
        ttl: TTL,
    };
    let now = || Duration::from_secs(NOW.load(Ordering::Relaxed)) + START.elapsed();
    let metrics = Arc::new(Metrics::new().unwrap());
    let store = Store::open(&settings, encryption, metrics, Clock::new(now, now));
    Arc::new(store.unwrap().0)
}

/// So many users log in, [`CLIENTS`] at a time.
async fn log_in(store: &Arc<Store>, from: u64, count: u64) -> Vec<Token> {
    let mut running = JoinSet::new();
    for client in 0..CLIENTS {
        let store = store.clone();
        running.spawn(async move {
            let mut tokens = Vec::new();
            let mut number = from + client;
            while number < from + count {
                tokens.push(one_login(&store, number).await);
                number += CLIENTS;
            }
            tokens
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

async fn one_login(store: &Store, number: u64) -> Token {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_ne_bytes());
    let mut key = [7; 16];
    key[..8].copy_from_slice(&number.to_ne_bytes());
    let created = NOW.load(Ordering::Relaxed) + START.elapsed().as_secs();
    let openid = &*format!("o{number:027}");
    let (user, unionid) = (
        UserId {
            appid: APPID,
            openid,
        },
        format!("u{number:027}"),
    );
    let session = Session::new(user, Some(unionid), created, TTL);
    let exchange = Exchange {
        code: hash,
        session_key: &SecretBox::new(Box::new(key)),
    };
    store.create(&session, Some(exchange)).await.unwrap()
}

/// Looks [`LOOKUPS`] sessions up, here and there; returns the CPU seconds.
async fn look_up(store: &Store, tokens: &[Token]) -> f64 {
    let begin = cpu();
    let mut place = 0;
    for _ in 0..LOOKUPS {
        place = (place + 7_919) % tokens.len();
        assert!(store.find(&tokens[place]).await.unwrap().is_some());
    }
    cpu() - begin
}

/// The mean time of a search for all sessions of a user, in microseconds.
async fn search(store: &Store, users: u64) -> f64 {
    const SEARCHES: u32 = 200;
    let begin = Instant::now();
    for number in 0..SEARCHES {
        let openid = &*format!("o{:027}", u64::from(number) * 7_919 % users);
        let appid = APPID;
        let found = store.list(UserId { appid, openid }).await.unwrap();
        assert_eq!(found.len(), 1);
    }
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(SEARCHES)
}

/// By this process, to disks.
fn bytes_written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let written = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    written.unwrap().parse().unwrap()
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let schedstat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        let used: u64 = schedstat.split(' ').next().unwrap().parse().unwrap();
        used
    });
    Duration::from_nanos(nanoseconds.sum()).as_secs_f64()
}

fn rss_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes: u64 = rss
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kilobytes >> 10
}

fn size_of(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}
