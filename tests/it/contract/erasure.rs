//! The end of all sessions of a user at the same moment as a login of that user.

use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;

use crate::support::app::TestApp;
use crate::support::backend::{Backend, OPEN};
use crate::support::redis_server::RedisServer;

/// Users whose sessions end at a time.
const AT_A_TIME: usize = 16;
/// The longest time in µs from the beginning of the login to that of the end.
const MAX_PAUSE: u64 = 20_000;

/// What became of the login in a race.
#[derive(Clone, Copy, PartialEq)]
enum Login {
    Alive,
    Ended,
    /// The end came while WeChat was asked.
    Refused,
}

/// A user logs in, and then once more while all sessions of the user end. What was acknowledged before is gone; the
/// login in between has a session that works and is listed, or none; a second end leaves nothing.
async fn race(app: &TestApp, number: usize) -> Login {
    let (backend, name) = (Backend::of(app), format!("race{number}"));
    let (first, second) = (format!("user-{name}.1"), format!("user-{name}.2"));
    let before = app.client.token(&first).await;
    // Sometimes the end is first, sometimes the login, mostly they meet.
    let pause = Duration::from_micros(Rng::with_seed(number as u64).u64(..MAX_PAUSE));
    let end = async {
        tokio::time::sleep(pause).await;
        backend.end(&name).await.assert_status(204);
    };
    let (login, ()) = tokio::join!(app.client.login(&second), end);
    app.client.session(&before).await.assert_status(401);
    let again = app.client.login(&first).await;
    again.assert_problem(400, "code_used", "login_again");
    let token = login.json()["token"].as_str().map(str::to_owned);
    let outcome = match &token {
        Some(token) if app.client.session(token).await.status == 200 => Login::Alive,
        Some(_) => Login::Ended,
        None => {
            login.assert_problem(400, "code_used", "login_again");
            Login::Refused
        }
    };
    let listed = backend.sessions(&name).await.json();
    let listed = listed["sessions"].as_array().unwrap().len();
    assert_eq!(listed, usize::from(outcome == Login::Alive), "{name}");
    backend.end(&name).await.assert_status(204);
    if let Some(token) = token {
        app.client.session(&token).await.assert_status(401);
    }
    let again = app.client.login(&second).await;
    again.assert_problem(400, "code_used", "login_again");
    let left = backend.sessions(&name).await.text;
    assert_eq!(left, "{\"sessions\":[]}", "{name}");
    outcome
}

async fn races(count: usize) {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    for store in ["memory:", &file, &redis.url()] {
        let app = TestApp::with(&[&OPEN[..], &[("SESSION_STORE", store)]].concat()).await;
        let races = futures_util::stream::iter(0..count).map(|number| race(&app, number));
        let logins: Vec<Login> = races.buffer_unordered(AT_A_TIME).collect().await;
        let number = |login| logins.iter().filter(|it| **it == login).count();
        let numbers = [Login::Alive, Login::Ended, Login::Refused].map(number);
        println!("{store}: {numbers:?} logins are alive, ended, refused");
        let is_race = (1..count).contains(&numbers[0]);
        assert!(is_race, "{store}: {numbers:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_while_all_sessions_of_the_user_end_leaves_none_that_is_not_listed() {
    races(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn two_thousand_logins_while_all_sessions_of_the_user_end() {
    races(2000).await;
}
