//! One connection that many requests share, to a server or to a cluster. It comes back by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError};

use super::RedisUrl;

/// How often a connection on which commands fail is replaced at most.
const RENEWAL: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connection {
    target: Arc<Target>,
    timeout: Duration,
    current: Arc<Mutex<Current>>,
}

enum Target {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
}

struct Current {
    link: Link,
    since: Instant,
}

#[derive(Clone)]
enum Link {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Does not connect yet. `timeout` is for connecting and for each answer.
    pub(super) fn new(address: &RedisUrl, timeout: Duration) -> Result<Self, RedisError> {
        let target = if address.is_cluster {
            Target::Cluster(Box::new(ClusterClient::new(address.nodes.clone())?))
        } else {
            Target::Server(Box::new(Client::open(address.nodes[0].clone())?))
        };
        Self::to(Arc::new(target), timeout)
    }

    fn to(target: Arc<Target>, timeout: Duration) -> Result<Self, RedisError> {
        let current = Current {
            link: target.link(timeout)?,
            since: Instant::now(),
        };
        Ok(Self {
            target,
            timeout,
            current: Arc::new(Mutex::new(current)),
        })
    }

    /// Sends a command that does no harm when it is sent twice, and is if the connection turns out
    /// to be gone, as after a restart of Redis.
    pub(super) async fn one<T: FromRedisValue>(&self, command: Cmd) -> Result<T, RedisError> {
        let link = self.link();
        let result = match link.query(&command).await {
            Err(error) if error.is_connection_dropped() => link.query(&command).await,
            result => result,
        };
        self.renew_after(result)
    }

    /// Sends a command that should not be sent twice: a server never gets it twice from here, and a
    /// cluster only if the node that it went to is lost.
    pub(super) async fn once<T: FromRedisValue>(&self, command: Cmd) -> Result<T, RedisError> {
        let result = self.link().query(&command).await;
        self.renew_after(result)
    }

    /// Sends several commands as [`one`](Self::one) does. A server gets them together; in a cluster,
    /// where their keys lie on different nodes, each waits for the one before.
    pub(super) async fn in_order(&self, commands: Vec<Cmd>) -> Result<(), RedisError> {
        let Link::Server(mut server) = self.link() else {
            for command in commands {
                self.one::<()>(command).await?;
            }
            return Ok(());
        };
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command).ignore();
        }
        let result = match pipeline.exec_async(&mut server).await {
            Err(error) if error.is_connection_dropped() => pipeline.exec_async(&mut server).await,
            result => result,
        };
        self.renew_after(result)
    }

    fn link(&self) -> Link {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.link.clone()
    }

    /// After a failure the next command finds a new connection. The one that is there may lead to a
    /// host that is gone without a word or was demoted, or may have been refused for ever by a
    /// password that is right by now: redis reconnects by itself after some errors only.
    fn renew_after<T>(&self, result: Result<T, RedisError>) -> Result<T, RedisError> {
        if result.is_err() {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.since.elapsed() >= RENEWAL
                && let Ok(link) = self.target.link(self.timeout)
            {
                let since = Instant::now();
                *current = Current { link, since };
            }
        }
        result
    }
}

impl Target {
    fn link(&self, timeout: Duration) -> Result<Link, RedisError> {
        match self {
            Self::Server(client) => {
                // Without retries of its own: the next command tries again, and clients are told
                // at once.
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(0)
                    .set_connection_timeout(Some(timeout))
                    .set_response_timeout(Some(timeout));
                ConnectionManager::new_lazy_with_config(*client.clone(), config).map(Link::Server)
            }
            Self::Cluster(client) => {
                let config = ClusterConfig::new()
                    .set_connection_timeout(timeout)
                    .set_response_timeout(timeout);
                let link = client.get_pending_async_connection_with_config(config);
                Ok(Link::Cluster(link))
            }
        }
    }
}

impl Link {
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self.clone() {
            Self::Server(mut server) => command.query_async(&mut server).await,
            Self::Cluster(mut cluster) => command.query_async(&mut cluster).await,
        }
    }
}
