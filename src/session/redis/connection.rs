//! One connection that many requests share, to a server or to a cluster. It comes back by itself.

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError};

use super::Address;

#[derive(Clone)]
pub(super) enum Connection {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Does not connect yet.
    pub(super) fn new(address: &Address, timeout: Duration) -> Result<Self, RedisError> {
        if address.is_cluster {
            let client = ClusterClient::new(address.nodes.clone())?;
            let config = ClusterConfig::new()
                .set_connection_timeout(timeout)
                .set_response_timeout(timeout);
            let connection = client.get_pending_async_connection_with_config(config);
            return Ok(Self::Cluster(connection));
        }
        let client = Client::open(address.nodes[0].clone())?;
        // Without retries of its own: the next request tries again, and clients are told at once.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        ConnectionManager::new_lazy_with_config(client, config).map(Self::Server)
    }

    /// Sends a command that does no harm when it is sent twice, and is if the connection turns out
    /// to be gone, as after a restart of Redis.
    pub(super) async fn one<T: FromRedisValue>(&self, command: Cmd) -> Result<T, RedisError> {
        match self.query(&command).await {
            Err(error) if error.is_connection_dropped() => self.query(&command).await,
            result => result,
        }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self.clone() {
            Self::Server(mut server) => command.query_async(&mut server).await,
            Self::Cluster(mut cluster) => command.query_async(&mut cluster).await,
        }
    }

    /// The same for several commands, in one round trip: a server gets them together; in a cluster,
    /// where their keys lie on different nodes, they are under way at the same time.
    pub(super) async fn all(&self, commands: Vec<Cmd>) -> Result<(), RedisError> {
        match self {
            Self::Cluster(_) => {
                let answers = commands.into_iter().map(|command| self.one::<()>(command));
                try_join_all(answers).await.map(drop)
            }
            Self::Server(server) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command).ignore();
                }
                match pipeline.exec_async(&mut server.clone()).await {
                    Err(error) if error.is_connection_dropped() => {
                        pipeline.exec_async(&mut server.clone()).await
                    }
                    result => result,
                }
            }
        }
    }
}
