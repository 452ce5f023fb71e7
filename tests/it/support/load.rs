//! Users who log in and out of a service that may fail or be killed, and checks of what was acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::StreamExt;
use reqwest::Method;
use tokio::task::JoinSet;

use crate::support::client::{Answer, Client};
use crate::support::power_cut::mark;

/// No two logins have the same code.
static LOGINS: AtomicUsize = AtomicUsize::new(0);

/// Users, each with one request at a time, until the service ends or [`Load::stop`].
pub struct Load {
    users: JoinSet<()>,
    /// Changes that were answered with success.
    acknowledged: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicUsize>,
}

impl Load {
    /// Acknowledged changes are written to the journal, see [`expectations`].
    pub fn start(client: &Client, users: usize, journal: &Path) -> Self {
        let mut load = Self {
            users: JoinSet::new(),
            acknowledged: Arc::default(),
            is_stopping: Arc::default(),
        };
        for _ in 0..users {
            let mut user = User {
                client: client.clone(),
                journal: journal.to_owned(),
                acknowledged: load.acknowledged.clone(),
                live: Vec::new(),
                ending: Vec::new(),
                random: Rng::new(),
                name: LOGINS.fetch_add(1, Ordering::Relaxed),
            };
            let is_stopping = load.is_stopping.clone();
            load.users.spawn(async move {
                while is_stopping.load(Ordering::Relaxed) == 0 && user.act().await.is_some() {}
            });
        }
        load
    }

    /// Waits for so many more acknowledged changes.
    pub async fn acknowledged(&mut self, more: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "the load gets no answers");
            if let Some(ended) = self.users.try_join_next() {
                ended.unwrap();
                panic!("the service is gone");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for the requests in flight, or for the end of the service.
    pub async fn stop(mut self) {
        self.is_stopping.store(1, Ordering::Relaxed);
        while let Some(user) = self.users.join_next().await {
            user.unwrap();
        }
    }
}

struct User {
    client: Client,
    journal: PathBuf,
    acknowledged: Arc<AtomicUsize>,
    live: Vec<String>,
    /// Tokens whose end was requested and not acknowledged.
    ending: Vec<String>,
    random: Rng,
    name: usize,
}

impl User {
    /// One request; `None` if the service has ended.
    async fn act(&mut self) -> Option<()> {
        match self.random.u8(..100) {
            0..25 if !self.live.is_empty() => {
                let token = self.live.swap_remove(self.random.usize(..self.live.len()));
                self.end(token).await
            }
            25..35 if !self.ending.is_empty() => {
                let token = self.ending.swap_remove(0);
                self.end(token).await
            }
            35..42 if !self.live.is_empty() => self.end_all().await,
            42..50 if !self.live.is_empty() => {
                let token = &self.live[self.random.usize(..self.live.len())];
                let answer = self.send(Method::GET, "/session", token).await?;
                assert!(
                    [200, 503].contains(&answer.status.as_u16()),
                    "{}",
                    answer.text
                );
                Some(())
            }
            _ => self.log_in().await,
        }
    }

    async fn log_in(&mut self) -> Option<()> {
        let login = LOGINS.fetch_add(1, Ordering::Relaxed);
        let path = format!("/onLogin?code=user-{}.{login}", self.name);
        let answer = self.client.try_send(Method::GET, &path, &[]).await.ok()?;
        if answer.status != 503 {
            answer.assert_status(200);
            let token = answer.json()["token"].as_str().unwrap().to_owned();
            self.mark("live", &[&token]);
            self.live.push(token);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    async fn end(&mut self, token: String) -> Option<()> {
        self.mark("ending", &[&token]);
        let answer = self.send(Method::DELETE, "/session", &token).await?;
        if answer.status == 503 {
            self.ending.push(token);
        } else {
            answer.assert_status(204);
            self.mark("dead", &[&token]);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    async fn end_all(&mut self) -> Option<()> {
        let with = self.live[0].clone();
        self.ending.append(&mut self.live);
        self.mark("ending", &self.ending);
        let answer = self
            .send(Method::DELETE, "/session?all=true", &with)
            .await?;
        if answer.status != 503 {
            answer.assert_status(204);
            let dead = std::mem::take(&mut self.ending);
            self.mark("dead", &dead);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    async fn send(&self, method: Method, path: &str, token: &str) -> Option<Answer> {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        self.client.try_send(method, path, &headers).await.ok()
    }

    fn mark(&self, word: &str, tokens: &[impl AsRef<str>]) {
        let tokens: Vec<_> = tokens.iter().map(AsRef::as_ref).collect();
        mark(&self.journal, &format!("{word} {}", tokens.join(" ")));
    }
}

/// The expected result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expected {
    Live,
    Dead,
    /// Its end was requested and not acknowledged: both answers are allowed.
    Either,
}

/// The expected results from the marks in a journal, the token that was changed last first.
pub fn expectations(marks: &[&str]) -> Vec<(String, Expected)> {
    let mut expected = BTreeMap::new();
    for (at, mark) in marks.iter().enumerate() {
        let mut words = mark.split(' ');
        let expectation = match words.next() {
            Some("live") => Expected::Live,
            Some("dead") => Expected::Dead,
            Some("ending") => Expected::Either,
            other => panic!("{other:?}"),
        };
        for token in words {
            expected.insert(token.to_owned(), (at, expectation));
        }
    }
    let mut expected: Vec<_> = expected.into_iter().collect();
    expected.sort_by_key(|(_, (at, _))| std::cmp::Reverse(*at));
    let expected = expected.into_iter();
    expected
        .map(|(token, (_, expected))| (token, expected))
        .collect()
}

/// Looks all of them up; returns those with another result.
pub async fn violations(client: &Client, expected: &[(String, Expected)]) -> Vec<String> {
    let lookups = expected.iter().map(async |(token, expected)| {
        let status = client.session(token).await.status.as_u16();
        let is_right = match expected {
            Expected::Live => status == 200,
            Expected::Dead => status == 401,
            Expected::Either => status == 200 || status == 401,
        };
        (!is_right).then(|| format!("{expected:?} and answered {status}: {token}"))
    });
    let lookups = futures_util::stream::iter(lookups).buffer_unordered(16);
    lookups
        .filter_map(async |violation| violation)
        .collect()
        .await
}
