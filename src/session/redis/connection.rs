//! Connections to a server or to a cluster. All requests of a thread share one, since a connection belongs to
//! the runtime in which it was made.

use std::time::{Duration, Instant};

use redis::ErrorKind::{AuthenticationFailed, ClusterConnectionNotFound, Server};
use redis::ServerErrorKind::Moved;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, Cmd, ConnectionInfo, Pipeline, RedisConnectionInfo, RedisError, Value, cmd};
use tokio::runtime::{self, Handle};

use super::{RedisStore, RedisUrl};

/// The longest time for connecting and for each answer.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// A connection younger than this is not replaced when a command fails.
pub(super) const MIN_AGE_TO_REPLACE: Duration = Duration::from_secs(1);
/// A connection that is idle for so long is probed: balancers and NAT gateways forget one after minutes.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What was sent and is not acknowledged for so long ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

type Answer = Result<Vec<Value>, RedisError>;

pub(super) struct Connection {
    link: Link,
    since: Instant,
    /// A new thread may find the connection of one that has ended, and its runtime with it.
    runtime: runtime::Id,
}

#[derive(Clone)]
pub(super) enum Link {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl RedisStore {
    /// Sends commands in this order, all once more if the connection was closed, as after a restart of Redis.
    /// Returns the answers, or the first error.
    pub(super) async fn send(&self, commands: &[Cmd]) -> Answer {
        let link = self.link(Duration::MAX)?;
        let result = match link.run(commands).await {
            Err(error) if error.is_connection_dropped() => link.run(commands).await,
            result => result,
        };
        let kind = result.as_ref().err().map(RedisError::kind);
        if let Some(AuthenticationFailed | ClusterConnectionNotFound | Server(Moved)) = kind {
            // The cause is not told: why a node is not reached, or refuses the user.
            for host in &self.url.nodes {
                log_in(host).await?.1?;
            }
        }
        result
    }

    /// The connection of this thread, a new one if it has none in this runtime that is younger than `max_age`.
    pub(super) fn link(&self, max_age: Duration) -> Result<Link, RedisError> {
        let runtime = Handle::current().id();
        let mut slot = self.connections.get_or_default().lock();
        let is_fit = |it: &&Connection| it.runtime == runtime && it.since.elapsed() < max_age;
        if let Some(connection) = slot.as_ref().filter(is_fit) {
            return Ok(connection.link.clone());
        }
        let link = if self.url.is_cluster {
            Link::cluster(&self.url)?
        } else {
            let host = &self.url.nodes[0];
            Link::server(host, host.redis_settings().clone())?
        };
        *slot = Some(Connection {
            link: link.clone(),
            since: Instant::now(),
            runtime,
        });
        Ok(link)
    }
}

/// A connection to a host, without a database, and its answer to `AUTH`, or `PING` if the URL has no password.
pub(super) async fn log_in(host: &ConnectionInfo) -> Result<(Link, Answer), RedisError> {
    let (user, mut command) = (host.redis_settings(), cmd("PING"));
    if user.password().is_some() {
        command = cmd("AUTH").arg(user.username()).arg(user.password()).take();
    }
    let link = Link::server(host, RedisConnectionInfo::default())?;
    let answer = link.run(&[command]).await;
    Ok((link, answer))
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    let keepalive = keepalive.with_interval(USER_TIMEOUT);
    let settings = TcpSettings::default().set_nodelay(true);
    let settings = settings.set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}

impl Link {
    fn server(host: &ConnectionInfo, redis: RedisConnectionInfo) -> Result<Self, RedisError> {
        let host = host.clone().set_tcp_settings(tcp_settings());
        // Without the client's name, which no server needs: some proxies close the connection at unknown commands.
        let client = Client::open(host.set_redis_settings(redis.set_skip_set_lib_name()))?;
        // Without retries: the next command connects again, and clients do not wait.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        ConnectionManager::new_lazy_with_config(client, config).map(Self::Server)
    }

    fn cluster(url: &RedisUrl) -> Result<Self, RedisError> {
        let hosts = ClusterClient::builder(url.nodes.clone()).tcp_settings(tcp_settings());
        // In time, and an odd number: after a redirection comes what the other node answers.
        let client = hosts.retries(5).min_retry_wait(50).build()?;
        // Before the first answer, the nodes that hang are tried twice.
        let config = ClusterConfig::new().set_connection_timeout(TIMEOUT / 3);
        let config = config.set_response_timeout(TIMEOUT);
        let connection = client.get_pending_async_connection_with_config(config);
        Ok(Self::Cluster(connection))
    }

    /// To a server as a pipeline; to a cluster, where the keys are on different nodes, one by one.
    pub(super) async fn run(&self, commands: &[Cmd]) -> Answer {
        match self.clone() {
            Self::Server(mut server) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command.clone());
                }
                pipeline.query_async(&mut server).await
            }
            Self::Cluster(mut cluster) => {
                let mut answers = Vec::with_capacity(commands.len());
                for command in commands {
                    answers.push(command.query_async(&mut cluster).await?);
                }
                Ok(answers)
            }
        }
    }
}
