//! What stands between wxlogin and Redis: twemproxy, `HAProxy` with Sentinel.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::ports::free_port;
use crate::support::redis_server::{PASSWORD, RedisServer, await_until};

/// A program with its configuration in a file, killed when it is dropped.
pub struct Program {
    pub port: u16,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Program {
    /// Starts it at this port, and waits until it listens.
    fn start(port: u16, config: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, config).unwrap();
        let mut command = command(&path);
        let name = command.get_program().to_owned();
        command.current_dir(dir.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}: tests/run.sh installs it", name.display())
        });
        await_until("it listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            port,
            child,
            _dir: dir,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Spreads the keys over the servers. It closes connections at commands that it does not know.
pub fn twemproxy(servers: &[&RedisServer]) -> Program {
    let (port, stats) = (free_port(), free_port());
    let server = |redis: &&RedisServer| format!("   - 127.0.0.1:{}:1\n", redis.port);
    let servers: String = servers.iter().map(server).collect();
    let config = format!(
        "wxlogin:\n  listen: 127.0.0.1:{port}\n  redis: true\n  redis_auth: {PASSWORD}\n  \
         distribution: ketama\n  hash_tag: \"{{}}\"\n  servers:\n{servers}"
    );
    Program::start(port, &config, |path| {
        let mut command = Command::new("nutcracker");
        command.args(["-s", &stats.to_string(), "-c"]).arg(path);
        command
    })
}

/// Follows the primary among two servers, as the documentation configures it.
pub fn haproxy(page: &str, servers: &[RedisServer; 2]) -> Program {
    let port = free_port();
    let (_, config) = page.split_once("# /etc/haproxy/haproxy.cfg").unwrap();
    let (config, _) = config.split_once("```").unwrap();
    let [one, two] = servers;
    let config = config
        .replace("PASSWORD", PASSWORD)
        .replace("127.0.0.1:6380", &format!("127.0.0.1:{port}"))
        .replace("10.0.0.1:6379", &format!("127.0.0.1:{}", one.port))
        .replace("10.0.0.2:6379", &format!("127.0.0.1:{}", two.port))
        .replace("    server c 10.0.0.3:6379\n", "");
    Program::start(port, &config, |path| {
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(path);
        command
    })
}

/// Makes a replica the primary a second after the primary is gone.
pub fn sentinel(primary: &RedisServer) -> Program {
    let port = free_port();
    let config = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor one 127.0.0.1 {} 1\n\
         sentinel auth-pass one {PASSWORD}\nsentinel down-after-milliseconds one 1000\n",
        primary.port
    );
    Program::start(port, &config, |path| {
        let mut command = Command::new("redis-server");
        command.arg(path).arg("--sentinel");
        command
    })
}
