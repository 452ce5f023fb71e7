//! Connections to a server or to a cluster. All requests of a thread share one, since a connection belongs to
//! the runtime in which it was made.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError};
use thread_local::ThreadLocal;
use tokio::runtime::{self, Handle};

use super::RedisUrl;

/// A connection younger than this is not replaced when a command fails.
const MIN_AGE_TO_REPLACE: Duration = Duration::from_secs(1);

pub(super) struct Connections {
    target: Target,
    timeout: Duration,
    of_threads: ThreadLocal<Mutex<Option<Connection>>>,
}

enum Target {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
}

struct Connection {
    link: Link,
    since: Instant,
    /// A new thread may find the connection of one that ended, and its runtime with it.
    runtime: runtime::Id,
}

#[derive(Clone)]
enum Link {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connections {
    /// Does not connect yet. `timeout` is for connecting and for each answer.
    pub(super) fn new(address: &RedisUrl, timeout: Duration) -> Result<Self, RedisError> {
        let target = if address.is_cluster {
            Target::Cluster(Box::new(ClusterClient::new(address.nodes.clone())?))
        } else {
            Target::Server(Box::new(Client::open(address.nodes[0].clone())?))
        };
        Ok(Self {
            target,
            timeout,
            of_threads: ThreadLocal::new(),
        })
    }

    /// Sends an idempotent command, and once more if the connection was closed, as after a restart of Redis.
    pub(super) async fn query_idempotent<T: FromRedisValue>(
        &self,
        command: Cmd,
    ) -> Result<T, RedisError> {
        let link = self.link()?;
        let result = match link.query(&command).await {
            Err(error) if error.is_connection_dropped() => link.query(&command).await,
            result => result,
        };
        self.replace_after_failure(result)
    }

    /// Sends a command that is not idempotent. It is never sent twice to a server; to a cluster it is only if
    /// the node that got it is lost.
    pub(super) async fn query_once<T: FromRedisValue>(
        &self,
        command: Cmd,
    ) -> Result<T, RedisError> {
        let result = self.link()?.query(&command).await;
        self.replace_after_failure(result)
    }

    /// Sends idempotent commands in this order, and all once more if the connection was closed: to a server
    /// as a pipeline; to a cluster, where their keys are on different nodes, one by one.
    pub(super) async fn pipeline_idempotent(&self, commands: Vec<Cmd>) -> Result<(), RedisError> {
        let Link::Server(mut server) = self.link()? else {
            for command in commands {
                self.query_idempotent::<()>(command).await?;
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
        self.replace_after_failure(result)
    }

    /// A section of `INFO`, from each node.
    pub(super) async fn info(&self, section: &str) -> Result<Vec<String>, RedisError> {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        let link = self.link()?;
        match &link {
            Link::Server(_) => Ok(vec![link.query(&command).await?]),
            Link::Cluster(_) => {
                let by_node: HashMap<String, String> = link.query(&command).await?;
                Ok(by_node.into_values().collect())
            }
        }
    }

    /// The connection of this thread, a new one if it has none in this runtime.
    fn link(&self) -> Result<Link, RedisError> {
        let runtime = Handle::current().id();
        let mut slot = self.slot().lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(connection) if connection.runtime == runtime => Ok(connection.link.clone()),
            _ => self.connect(&mut slot),
        }
    }

    /// Replaces the connection if the result is an error. The redis crate reconnects after some errors only,
    /// and not when a primary was demoted, a host stopped answering, or a password was refused.
    fn replace_after_failure<T>(&self, result: Result<T, RedisError>) -> Result<T, RedisError> {
        if result.is_err() {
            let mut slot = self.slot().lock().unwrap_or_else(PoisonError::into_inner);
            if slot
                .as_ref()
                .is_none_or(|it| it.since.elapsed() >= MIN_AGE_TO_REPLACE)
            {
                self.connect(&mut slot)?;
            }
        }
        result
    }

    fn slot(&self) -> &Mutex<Option<Connection>> {
        self.of_threads.get_or_default()
    }

    fn connect(&self, slot: &mut Option<Connection>) -> Result<Link, RedisError> {
        let link = self.target.link(self.timeout)?;
        *slot = Some(Connection {
            link: link.clone(),
            since: Instant::now(),
            runtime: Handle::current().id(),
        });
        Ok(link)
    }
}

impl Target {
    fn link(&self, timeout: Duration) -> Result<Link, RedisError> {
        match self {
            Self::Server(client) => {
                // Without retries: the next command connects again, and clients do not wait.
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
