//! WeChat as bytes: answers that no HTTP library would send.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fake_wechat::APPID;
use crate::support::backend::TOKEN;

/// What it does with a call.
#[derive(Clone)]
pub enum Script {
    /// Sends this and closes the connection.
    Send(Vec<u8>),
    After(Duration, Vec<u8>),
    /// Sends this, and 500 further bytes each 50 ms, until the connection is closed.
    Drip(Vec<u8>),
    /// Never answers.
    Hold,
}

/// A call that it got.
#[derive(Debug, Clone)]
pub struct Call {
    pub head: String,
    pub body: Vec<u8>,
}

struct State {
    script: Script,
    calls: Vec<Call>,
    token: u32,
    fetches: usize,
    /// The errcode for tokens before the current one.
    dead: i64,
}

#[derive(Clone)]
pub struct Upstream {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A good answer.
pub fn ok(content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn token(number: u32) -> String {
    format!("57_upstream-{number:06}_{}", "t0ken".repeat(20))
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            script: Script::Send(ok("application/json", b"{\"errcode\":0}")),
            calls: Vec::new(),
            token: 1,
            fetches: 0,
            dead: 40001,
        };
        let upstream = Self {
            addr: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
        };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = serving.clone();
                tokio::spawn(async move { upstream.serve(stream).await });
            }
        });
        upstream
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn answer(&self, script: Script) {
        self.state().script = script;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn token(&self) -> String {
        token(self.state().token)
    }

    pub fn fetches(&self) -> usize {
        self.state().fetches
    }

    /// Gives out another token; the one before is refused.
    pub fn kill_token(&self, errcode: i64) {
        let mut state = self.state();
        state.token += 1;
        state.dead = errcode;
    }

    /// Waits until it has got so many calls.
    pub async fn wait_for(&self, calls: usize) {
        while self.state().calls.len() < calls {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let call = read(&mut stream).await?;
        let current = self.token();
        let script = {
            let mut state = self.state();
            if call.head.starts_with("POST /cgi-bin/stable_token ") {
                state.fetches += 1;
                let json = format!(r#"{{"access_token":"{current}","expires_in":7200}}"#);
                Script::Send(ok("application/json", json.as_bytes()))
            } else {
                let line = call.head.lines().next().unwrap_or_default();
                let is_valid = line.contains(&format!("access_token={current} "));
                state.calls.push(call);
                if is_valid {
                    state.script.clone()
                } else {
                    let json = format!(r#"{{"errcode":{},"errmsg":"dead"}}"#, state.dead);
                    Script::Send(ok("application/json", json.as_bytes()))
                }
            }
        };
        match script {
            Script::Send(bytes) => stream.write_all(&bytes).await?,
            Script::After(delay, bytes) => {
                tokio::time::sleep(delay).await;
                stream.write_all(&bytes).await?;
            }
            Script::Drip(bytes) => {
                stream.write_all(&bytes).await?;
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    stream.write_all(&[b'x'; 500]).await?;
                }
            }
            // Until the other end closes the connection.
            Script::Hold => drop(stream.read_u8().await),
        }
        stream.shutdown().await
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Call> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let mut call = Call {
        head: String::from_utf8(head).unwrap(),
        body: Vec::new(),
    };
    let length = call.header("content-length").map(|it| it.parse().unwrap());
    call.body.resize(length.unwrap_or(0), 0);
    stream.read_exact(&mut call.body).await?;
    Ok(call)
}

impl Call {
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned())
}

/// An answer as bytes.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    /// With the marks of chunks, if there are any.
    pub body: Vec<u8>,
}

impl RawAnswer {
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request of the backend, for [`raw`].
pub fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} /wechat/{APPID}{target} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends these bytes, and reads until the service closes the connection.
pub async fn raw(addr: SocketAddr, request: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // It may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    RawAnswer {
        status: head[9..12].parse().unwrap(),
        body: answer[end + 4..].to_vec(),
        head,
    }
}
