//! Several processes on one Redis, and a Redis that fails.

use std::time::{Duration, Instant};

use crate::fake_wechat::{APPID, FakeWechat, encrypt, openid, session_key, sign};
use crate::support::app::{TestApp, vars};
use crate::support::client::{Answer, Client};
use crate::support::process::Process;
use crate::support::redis_server::{PASSWORD, RedisCluster, RedisServer};
use crate::support::wait::asked_for;
use crate::support::wait::eventually;

/// Two processes with one Redis and one WeChat.
async fn replicas(redis: &RedisServer) -> (FakeWechat, [Process; 2]) {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", &redis.url())]);
    let processes = [(); 2].map(|()| Process::start(dir.path(), &settings));
    (wechat, processes)
}

fn token(answer: &Answer) -> String {
    answer.json()["token"]
        .as_str()
        .expect(&answer.text)
        .to_owned()
}

#[tokio::test]
async fn they_share_sessions_and_ends() {
    let redis = RedisServer::start();
    let (_wechat, [one, other]) = replicas(&redis).await;
    let token = one.client.token("user-alice").await;
    let session = other.client.session(&token).await;
    assert_eq!(session.json()["openid"], openid("alice"));
    other.client.end(&token).await.assert_status(204);
    one.client
        .session(&token)
        .await
        .assert_problem(401, "invalid_token", "login_again");
}

#[tokio::test]
async fn one_code_at_both_in_the_same_instant_is_refused_nowhere() {
    let redis = RedisServer::start();
    let (wechat, processes) = replicas(&redis).await;
    for round in 0..50 {
        let code = format!("user-alice.{round}");
        let requests = (0..24).map(|request| processes[request % 2].client.login(&code));
        for answer in futures_util::future::join_all(requests).await {
            answer.assert_status(200);
            assert_eq!(answer.json()["openid"], openid("alice"));
        }
        let asked = wechat.requests_for(&code);
        assert!(
            asked <= 2,
            "once for each process at the most, not {asked} times"
        );
    }
}

/// The codes whose `session_key` the service still has for the user of this token.
async fn known_keys(client: &Client, token: &str, codes: &[String]) -> Vec<String> {
    let mut known = Vec::new();
    for code in codes {
        let signature = sign(&session_key(code), "{}");
        if client.verify(token, "{}", &signature).await.status == 204 {
            known.push(code.clone());
        }
    }
    known
}

#[tokio::test]
async fn logins_of_one_user_at_both_leave_the_two_newest_keys() {
    let redis = RedisServer::start();
    let (_wechat, [one, other]) = replicas(&redis).await;
    let mut codes = Vec::new();
    for round in 0..100 {
        let pair = ["a", "b"].map(|at| format!("user-alice.{round}{at}"));
        let (first, _) = tokio::join!(one.client.token(&pair[0]), other.client.token(&pair[1]));
        let known = known_keys(&other.client, &first, &pair).await;
        assert_eq!(known, pair, "round {round}");
        codes.extend(pair);
        if round == 99 {
            let known = known_keys(&one.client, &first, &codes).await;
            assert_eq!(known, codes[198..]);
        }
    }

    // Concurrently, too.
    let codes: Vec<_> = (0..200).map(|login| format!("user-bob.{login}")).collect();
    let logins = codes.iter().zip([&one, &other].into_iter().cycle());
    let logins = logins.map(|(code, process)| process.client.token(code));
    let tokens = futures_util::future::join_all(logins).await;
    let known = known_keys(&one.client, &tokens[0], &codes).await;
    assert_eq!(known.len(), 2, "{known:?}");
    let last = ["user-bob.last", "user-bob.very-last"].map(String::from);
    for code in &last {
        other.client.login(code).await.assert_status(200);
    }
    assert_eq!(known_keys(&one.client, &tokens[0], &last).await, last);
    assert!(known_keys(&one.client, &tokens[0], &codes).await.is_empty());
}

#[tokio::test]
async fn ten_failures_at_both_together_make_the_keys_useless() {
    let redis = RedisServer::start();
    let (_wechat, processes) = replicas(&redis).await;
    let token = processes[0].client.token("user-alice").await;
    let junk = encrypt(&[7; 16], "{}");
    let failures = (0..40).map(|n| processes[n % 2].client.decrypt(&token, &junk));
    for failure in futures_util::future::join_all(failures).await {
        failure.assert_problem(422, "undecryptable", "login_again");
    }
    let codes = ["user-alice".to_owned()];
    let known = known_keys(&processes[1].client, &token, &codes).await;
    assert!(known.is_empty());
    let key = format!("wxlogin2:keys:{{{APPID}:{}}}", openid("alice"));
    let failures = redis.cli(&["-n", "3", "HGET", &key, "failures"]);
    let failures: u32 = failures.trim().parse().unwrap();
    assert!((10..=40).contains(&failures), "{failures}");
}

#[tokio::test]
async fn a_redis_that_refuses_writes_opens_no_user_data() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let token = app.client.token("user-alice").await;
    redis.cli(&["ACL", "SETUSER", "default", "-hincrby"]);
    let junk = encrypt(&[7; 16], "{}");
    let uncounted = app.client.decrypt(&token, &junk).await;
    uncounted.assert_problem(503, "store_unavailable", "retry_later");
    let signature = sign(&session_key("user-alice"), "{}");
    app.client
        .verify(&token, "{}", &signature)
        .await
        .assert_status(204);
}

#[tokio::test]
async fn ending_all_sessions_is_not_promised_once_redis_has_evicted_their_list() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let token = app.client.token("user-alice").await;
    let other = app.client.token("user-alice.2").await;
    let key = format!("wxlogin2:owned:{{{APPID}:{}}}", openid("alice"));
    assert_eq!(redis.cli(&["-n", "3", "DEL", &key]).trim(), "1");
    let refused = app.client.end_all(&token).await;
    refused.assert_problem(503, "store_unavailable", "retry_later");
    app.client.session(&token).await.assert_status(401);
    app.client.session(&other).await.assert_status(200);
    app.client.end(&other).await.assert_status(204);
}

#[tokio::test]
async fn readyz_is_503_when_redis_would_refuse_a_login_a_lookup_or_a_logout() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let refuses = async |what: &str| {
        let readyz = app.client.get("/readyz").await;
        assert_eq!(readyz.status, 503, "{what}");
        readyz.assert_problem(503, "store_unavailable", "retry_later");
    };
    for command in ["set", "get", "del", "eval", "zadd", "hincrby"] {
        app.client.get("/readyz").await.assert_status(200);
        redis.cli(&["ACL", "SETUSER", "default", &format!("-{command}")]);
        refuses(command).await;
        refuses(command).await;
        redis.cli(&["ACL", "SETUSER", "default", &format!("+{command}")]);
    }
    let sessions = "~wxlogin2:session:*";
    redis.cli(&["ACL", "SETUSER", "default", "resetkeys", sessions]);
    refuses("other keys").await;
    redis.cli(&["ACL", "SETUSER", "default", "allkeys"]);
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    refuses("memory").await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    refuses("a replica").await;
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    app.client.get("/readyz").await.assert_status(200);
    let keys = redis.cli(&["-n", "3", "KEYS", "*"]);
    let left: Vec<_> = keys.lines().collect();
    for key in left {
        let ttl: i64 = redis.cli(&["-n", "3", "TTL", key]).trim().parse().unwrap();
        assert!((0..=60).contains(&ttl), "{key} {ttl}");
    }
}

/// The warnings of a process at its start.
fn warnings_at_start(store: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let settings = vars("http://127.0.0.1:1", &[("SESSION_STORE", store)]);
    let process = Process::start(dir.path(), &settings);
    process.signal("TERM");
    let (_, log) = process.wait();
    let warnings = log.lines().filter(|line| line.contains(" WARN "));
    let of_redis = warnings.filter(|line| !line.contains("WECHAT_"));
    of_redis.map(str::to_owned).collect()
}

#[test]
fn a_redis_that_evicts_or_is_a_replica_or_refuses_what_user_data_needs_is_warned_of() {
    let redis = RedisServer::start();
    assert_eq!(warnings_at_start(&redis.url()), [""; 0]);
    for policy in ["allkeys-lru", "volatile-ttl"] {
        redis.cli(&["CONFIG", "SET", "maxmemory-policy", policy]);
        let warnings = warnings_at_start(&redis.url());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let expected = format!(
            "Redis at 127.0.0.1:{}: maxmemory-policy is {policy}",
            redis.port
        );
        assert!(warnings[0].contains(&expected), "{warnings:?}");
    }
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    for (command, expected) in [
        ("info", "cannot see whether"),
        ("hincrby", "logins fail until the session store answers"),
    ] {
        redis.cli(&["ACL", "SETUSER", "default", &format!("-{command}")]);
        let warnings = warnings_at_start(&redis.url());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains(expected) && warnings[0].contains("Redis answered "),
            "{warnings:?}"
        );
        redis.cli(&["ACL", "SETUSER", "default", &format!("+{command}")]);
    }
    let replica = RedisServer::with(&["--replica-read-only", "no"]);
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let warnings = warnings_at_start(&replica.url());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("is a replica"), "{warnings:?}");

    let cluster = RedisCluster::start();
    assert_eq!(warnings_at_start(&cluster.url()), [""; 0]);
    cluster.nodes[2].cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]);
    let warnings = warnings_at_start(&cluster.url());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("maxmemory-policy is allkeys-lfu"),
        "{warnings:?}"
    );
}

/// The log of a process in which a login fails at this store.
async fn log_of_a_failed_login(store: &str) -> String {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(
        dir.path(),
        &vars(&wechat.base(), &[("SESSION_STORE", store)]),
    );
    let refused = process.client.login("user-alice").await;
    refused.assert_problem(503, "store_unavailable", "login_again");
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    for secret in [
        PASSWORD,
        "wrong-password",
        "wxlogin2:exchange",
        "wxlogin2:session",
        "wxlogin2:keys",
        "wxlogin2:owned",
        &openid("alice"),
        "local newest",
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    log
}

#[tokio::test]
async fn an_error_of_redis_names_host_port_and_cause_and_no_key_or_value() {
    let redis = RedisServer::start();
    let wrong = redis.url().replace(PASSWORD, "wrong-password");
    let renamed = RedisServer::with(&["--rename-command", "GET", ""]);
    let no_scripts = RedisServer::with(&["--rename-command", "EVAL", ""]);
    let full = RedisServer::with(&["--maxmemory", "1"]);
    let rows = [
        (
            wrong,
            redis.port,
            "Redis answered WRONGPASS invalid username-password pair or user is disabled.",
        ),
        (
            format!("redis://127.0.0.1:{}", redis.port),
            redis.port,
            "Redis answered NOAUTH Authentication required.",
        ),
        (
            renamed.url(),
            renamed.port,
            "Redis answered ERR unknown command 'GET'",
        ),
        (
            no_scripts.url(),
            no_scripts.port,
            "Redis answered ERR unknown command 'EVAL'",
        ),
        (
            full.url(),
            full.port,
            "Redis answered OOM command not allowed when used memory > 'maxmemory'.",
        ),
        ("redis://127.0.0.1:1".into(), 1, "Connection refused"),
    ];
    for (store, port, cause) in rows {
        let log = log_of_a_failed_login(&store).await;
        let expected = format!("Redis at 127.0.0.1:{port}: {cause}");
        assert!(log.contains(&expected), "{expected} in {log}");
    }
    let log = log_of_a_failed_login("redis://name..invalid:7000").await;
    assert!(log.contains("Redis at name..invalid:7000: "), "{log}");
    assert!(log.contains("lookup"), "{log}");
    let log = log_of_a_failed_login("redis+cluster://127.0.0.1:1,127.0.0.1:2").await;
    assert!(
        log.contains("Redis cluster at 127.0.0.1:1, 127.0.0.1:2: Connection refused"),
        "{log}"
    );
}

#[tokio::test]
async fn keys_live_as_long_as_the_last_session_of_their_user() {
    let redis = RedisServer::start();
    let long = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    long.client.login("user-alice").await.assert_status(200);
    let short = [("SESSION_STORE", &*redis.url()), ("SESSION_TTL", "60s")];
    let short = TestApp::with(&short).await;
    short.client.login("user-alice.2").await.assert_status(200);
    let key = format!("wxlogin2:keys:{{{APPID}:{}}}", openid("alice"));
    let left: i64 = redis.cli(&["-n", "3", "TTL", &key]).trim().parse().unwrap();
    assert!(left > 604_000, "{left}");
}

#[tokio::test]
async fn a_repeat_at_the_other_needs_no_exchange_also_when_the_first_was_killed() {
    let redis = RedisServer::start();
    let (wechat, [one, other]) = replicas(&redis).await;
    one.client.login("user-alice").await.assert_status(200);
    one.signal("KILL");
    other.client.login("user-alice").await.assert_status(200);
    assert_eq!(wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_repeat_after_a_kill_and_a_restart_on_the_file_needs_no_exchange() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")]);
    let process = Process::start(dir.path(), &settings);
    process.client.login("user-alice").await.assert_status(200);
    process.signal("KILL");
    process.wait();
    let process = Process::start(dir.path(), &settings);
    let answer = process.client.login("user-alice").await;
    answer.assert_status(200);
    process
        .client
        .session(&token(&answer))
        .await
        .assert_status(200);
    assert_eq!(wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_redis_that_stands_still_is_503_and_its_codes_log_in_afterwards() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let kept = app.client.token("user-kept").await;
    let exchanged_already = tokio::spawn({
        let client = app.client.clone();
        async move { client.login("slow-500").await }
    });
    asked_for(&app.wechat, "slow-500").await;
    redis.signal("STOP");
    let begin = Instant::now();
    let (login, session, readyz) = tokio::join!(
        app.client.login("user-alice"),
        app.client.session(&kept),
        app.client.get("/readyz"),
    );
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    login.assert_problem(503, "store_unavailable", "login_again");
    session.assert_problem(503, "store_unavailable", "retry_later");
    readyz.assert_problem(503, "store_unavailable", "retry_later");
    exchanged_already
        .await
        .unwrap()
        .assert_problem(503, "store_unavailable", "login_again");
    app.client.get("/healthz").await.assert_status(200);
    redis.signal("CONT");
    for code in ["user-alice", "slow-500"] {
        app.client.login(code).await.assert_status(200);
        assert_eq!(app.wechat.requests_for(code), 1);
    }
    app.client.session(&kept).await.assert_status(200);
    app.client.get("/readyz").await.assert_status(200);
}

#[tokio::test]
async fn a_user_who_could_not_be_stored_is_not_lost() {
    let redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    redis.cli(&["ACL", "SETUSER", "default", "-set"]);
    for _ in 0..2 {
        let refused = app.client.login("user-alice").await;
        refused.assert_problem(503, "store_unavailable", "login_again");
    }
    redis.cli(&["ACL", "SETUSER", "default", "+set"]);
    app.client.login("user-alice").await.assert_status(200);
    assert_eq!(app.wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_redis_restarted_empty_has_no_sessions_and_takes_new_ones() {
    let mut redis = RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    let lost = app.client.token("user-alice").await;
    redis.restart();
    app.client
        .session(&lost)
        .await
        .assert_problem(401, "invalid_token", "login_again");
    let token = app.client.token("user-alice.2").await;
    app.client.session(&token).await.assert_status(200);
}

#[tokio::test]
async fn a_redis_that_comes_later_or_has_another_password_does_not_stop_the_start() {
    let redis = RedisServer::start();
    let wrong = redis.url().replace(":redis-", ":other-");
    let app = TestApp::with(&[("SESSION_STORE", &wrong)]).await;
    app.client
        .get("/readyz")
        .await
        .assert_problem(503, "store_unavailable", "retry_later");
    app.client
        .login("user-alice")
        .await
        .assert_problem(503, "store_unavailable", "login_again");
    assert_eq!(app.wechat.requests_for("user-alice"), 0);
    // The password is corrected, and nothing is restarted.
    redis.cli(&["ACL", "SETUSER", "default", ">other-p4ssw0rd-canary"]);
    let back = tokio::time::timeout(Duration::from_secs(10), async {
        eventually("it is ready", async || {
            app.client.get("/readyz").await.status == 200
        })
        .await;
    });
    back.await.expect("it does not connect again");
    app.client.login("user-alice").await.assert_status(200);

    let nobody = "redis://127.0.0.1:1";
    let app = TestApp::with(&[("SESSION_STORE", nobody)]).await;
    let begin = Instant::now();
    app.client
        .login("user-alice")
        .await
        .assert_problem(503, "store_unavailable", "login_again");
    assert!(begin.elapsed() < Duration::from_secs(3));
}
