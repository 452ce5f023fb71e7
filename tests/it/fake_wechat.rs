//! A stand-in for WeChat: strict in what it accepts, one-time codes, scripted by the code itself.
//!
//! A model ([`Model`]) with a thin HTTP server over it. It serves the tests and the sandbox.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::iv::FixedLength;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tokio::net::TcpListener;

pub const APPID: &str = "wx0123456789abcdef";
pub const SECRET: &str = "5ecre7c0ffee5ecre7c0ffee5ecre7aa";
/// A second Mini Program.
pub const OTHER_APPID: &str = "wxfedcba9876543210";
pub const OTHER_SECRET: &str = "5ecre7bee5ecre7bee5ecre7bee5ecbb";

/// What a code asks for. Any code may end in `.` and something, which makes it a new one.
pub const SCRIPT: &[(&str, &str)] = &[
    ("user-NAME", "NAME logs in, with a unionid"),
    ("guest-NAME", "NAME logs in, without a unionid"),
    ("error-N", "errcode N, such as error-40029 or error--1"),
    ("busy-N", "errcode -1 N times, then a login"),
    ("busy-used", "errcode -1, then 40163"),
    ("slow-MS", "a login after MS milliseconds"),
    ("hang", "no answer, ever"),
    ("garbage", "an answer that is not JSON"),
    ("empty", "an empty answer"),
    ("html-502", "HTTP 502 with a page of HTML"),
];

/// A running stand-in.
#[derive(Clone)]
pub struct FakeWechat {
    addr: SocketAddr,
    model: Arc<Mutex<Model>>,
}

impl FakeWechat {
    /// Starts on a free port of the loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            addr: listener.local_addr().unwrap(),
            model: Arc::new(Mutex::new(Model::new())),
        };
        let router = fake.router();
        tokio::spawn(async move { serve(listener, router).await });
        fake
    }

    /// Its routes, for a test that serves them in another way.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/sns/jscode2session", any(jscode2session))
            .with_state(self.model.clone())
    }

    /// For `WECHAT_API_BASE`.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Resets an AppSecret, as somebody does in the WeChat admin console.
    pub fn reset_secret(&self, appid: &str, secret: &str) {
        let mut model = self.model.lock().unwrap();
        model.secrets.insert(appid.into(), secret.into());
    }

    /// Lets it refuse every request with this errcode, whatever it asks.
    pub fn refuse_everything(&self, errcode: i64) {
        self.model.lock().unwrap().refuses = Some(errcode);
    }

    /// Lets it answer a code with this body.
    pub fn script(&self, code: &str, body: &str) {
        let mut model = self.model.lock().unwrap();
        model.scripted.insert(code.into(), body.into());
    }

    /// How many requests for a code it got, accepted or not.
    pub fn requests_for(&self, code: &str) -> usize {
        let model = self.model.lock().unwrap();
        model.asked.iter().filter(|asked| *asked == code).count()
    }

    /// How many requests it got that named a code.
    pub fn requests(&self) -> usize {
        self.model.lock().unwrap().asked.len()
    }

    /// How often it was asked with an AppSecret that is not right.
    pub fn wrong_secrets(&self) -> usize {
        self.model.lock().unwrap().wrong_secrets
    }

    /// The codes that it gave a `session_key` for, and these.
    pub fn keys(&self) -> Vec<(String, [u8; 16])> {
        let model = self.model.lock().unwrap();
        let named = model.exchanged.iter().cloned();
        named
            .map(|code| (code.clone(), session_key(&code)))
            .collect()
    }
}

/// What WeChat remembers.
struct Model {
    /// By appid.
    secrets: HashMap<String, String>,
    refuses: Option<i64>,
    /// Answers that a test wrote, by code.
    scripted: HashMap<String, String>,
    /// Codes in the order of the requests.
    asked: Vec<String>,
    /// Codes that are used up: a refused exchange uses a code up too.
    used: HashSet<String>,
    exchanged: Vec<String>,
    wrong_secrets: usize,
}

/// What comes back, and when.
enum Reply {
    Now(Response),
    After(Duration, Response),
    Never,
}

async fn jscode2session(
    State(model): State<Arc<Mutex<Model>>>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    let reply = model
        .lock()
        .unwrap()
        .reply(&method, &query.unwrap_or_default());
    match reply {
        Reply::Now(response) => response,
        Reply::After(delay, response) => {
            tokio::time::sleep(delay).await;
            response
        }
        Reply::Never => std::future::pending().await,
    }
}

impl Model {
    fn new() -> Self {
        let secrets = [(APPID, SECRET), (OTHER_APPID, OTHER_SECRET)];
        Self {
            secrets: secrets
                .map(|(appid, secret)| (appid.into(), secret.into()))
                .into(),
            refuses: None,
            scripted: HashMap::new(),
            asked: Vec::new(),
            used: HashSet::new(),
            exchanged: Vec::new(),
            wrong_secrets: 0,
        }
    }

    fn reply(&mut self, method: &Method, query: &str) -> Reply {
        let (appid, code) = match self.read_query(method, query) {
            Ok(read) => read,
            Err((errcode, errmsg)) => {
                self.wrong_secrets += usize::from(errcode == 40125);
                return Reply::Now(error(errcode, errmsg));
            }
        };
        self.asked.push(code.clone());
        if let Some(errcode) = self.refuses {
            return Reply::Now(refusal(errcode));
        }
        let script = code
            .split_once('.')
            .map_or(code.as_str(), |(script, _)| script);
        if self.is_busy(script, &code) {
            return Reply::Now(error(-1, "system error"));
        }
        if !self.used.insert(code.clone()) {
            return Reply::Now(error(40163, "code been used"));
        }
        if let Some(body) = self.scripted.get(&code) {
            return Reply::Now(text(body.clone()));
        }
        match script.split_once('-').unwrap_or((script, "")) {
            ("user", name) if !name.is_empty() => {
                Reply::Now(self.success(&appid, &code, name, true))
            }
            ("guest", name) if !name.is_empty() => {
                Reply::Now(self.success(&appid, &code, name, false))
            }
            ("busy", "used") => Reply::Now(error(-1, "system error")),
            ("busy", _) => Reply::Now(self.success(&appid, &code, "busy", true)),
            ("error", number) => match number.parse() {
                Ok(errcode) => Reply::Now(refusal(errcode)),
                Err(_) => Reply::Now(error(40029, "invalid code")),
            },
            ("slow", millis) => match millis.parse() {
                Ok(millis) => Reply::After(
                    Duration::from_millis(millis),
                    self.success(&appid, &code, "slow", true),
                ),
                Err(_) => Reply::Now(error(40029, "invalid code")),
            },
            ("hang", "") => Reply::Never,
            ("garbage", "") => Reply::Now(text("}{ this is not JSON".into())),
            ("empty", "") => Reply::Now(text(String::new())),
            ("html", "502") => Reply::Now(html_502()),
            // What DevTools sends for a project with a real AppID: always the same developer.
            _ if is_like_wechats(&code) => {
                Reply::Now(self.success(&appid, &code, "devtools", true))
            }
            _ => Reply::Now(error(40029, "invalid code")),
        }
    }

    /// Whether it is too busy to look at the code.
    fn is_busy(&self, script: &str, code: &str) -> bool {
        let times = script.strip_prefix("busy-").map(str::parse::<usize>);
        let asked = self.asked.iter().filter(|asked| *asked == code).count();
        script == "error--1" || times.is_some_and(|times| times.is_ok_and(|times| asked <= times))
    }

    /// The appid and the code, if the request is exactly what WeChat documents; else WeChat's refusal.
    fn read_query(
        &self,
        method: &Method,
        query: &str,
    ) -> Result<(String, String), (i64, &'static str)> {
        if method != Method::GET {
            return Err((41002, "appid missing"));
        }
        let url = reqwest::Url::parse(&format!("http://localhost/?{query}")).unwrap();
        let value = |name: &str| -> Option<String> {
            let mut values = url.query_pairs().filter(|(key, _)| key == name);
            let (value, more) = (values.next(), values.next());
            value
                .filter(|_| more.is_none())
                .map(|(_, value)| value.into())
        };
        let appid = value("appid").ok_or((41002, "appid missing"))?;
        let secret = value("secret").ok_or((41004, "appsecret missing"))?;
        let code = value("js_code").ok_or((41008, "missing code"))?;
        let Some(known) = self.secrets.get(&appid) else {
            return Err((40013, "invalid appid"));
        };
        if secret != *known {
            return Err((40125, "invalid appsecret"));
        }
        if value("grant_type").as_deref() != Some("authorization_code") {
            return Err((40002, "invalid grant_type"));
        }
        Ok((appid, code))
    }

    fn success(&mut self, appid: &str, code: &str, name: &str, with_unionid: bool) -> Response {
        let key = STANDARD.encode(session_key(code));
        let openid = openid_in(appid, name);
        let unionid = if with_unionid {
            format!(r#""unionid":"{}","#, id("unionid", name))
        } else {
            String::new()
        };
        // WeChat escapes slashes.
        let escaped = key.replace('/', r"\/");
        self.exchanged.push(code.to_owned());
        text(format!(
            r#"{{"session_key":"{escaped}",{unionid}"openid":"{openid}"}}"#
        ))
    }
}

/// The openid of a scripted user.
pub fn openid(name: &str) -> String {
    openid_in(APPID, name)
}

/// The same in another Mini Program: another openid.
pub fn openid_in(appid: &str, name: &str) -> String {
    match appid {
        APPID => id("openid", name),
        _ => id("openid", &format!("{appid} {name}")),
    }
}

/// The key that comes with a code: each has its own.
pub fn session_key(code: &str) -> [u8; 16] {
    hash("session_key", code)[..16].try_into().unwrap()
}

/// Like WeChat's: 28 characters, the first an `o`.
fn id(kind: &str, name: &str) -> String {
    format!("o{}", &URL_SAFE_NO_PAD.encode(hash(kind, name))[..27])
}

/// A user's data as `wx.getUserInfo` and others encrypt it: `encryptedData` and `iv`.
pub fn encrypt(session_key: &[u8; 16], json: impl AsRef<[u8]>) -> (String, String) {
    let json = json.as_ref();
    let iv = digest(&SHA256, json).as_ref()[..16].try_into();
    let iv: [u8; 16] = iv.unwrap();
    let key = UnboundCipherKey::new(&AES_128, session_key).unwrap();
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap();
    let mut data = json.to_vec();
    key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .unwrap();
    (STANDARD.encode(data), STANDARD.encode(iv))
}

/// A user's data as WeChat signs it.
pub fn sign(session_key: &[u8; 16], raw_data: &str) -> String {
    let signed = format!("{raw_data}{}", STANDARD.encode(session_key));
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, signed.as_bytes());
    hex(digest.as_ref())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The JSON inside, made at a time in Unix seconds.
pub fn user_info(appid: &str, openid: &str, timestamp: u64) -> String {
    format!(
        r#"{{"openId":"{openid}","nickName":"带 Band","watermark":{{"timestamp":{timestamp},"appid":"{appid}"}}}}"#
    )
}

fn hash(kind: &str, name: &str) -> [u8; 32] {
    let digest = digest(&SHA256, format!("{kind} {name}").as_bytes());
    digest.as_ref().try_into().unwrap()
}

fn is_like_wechats(code: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    code.len() == 32 && code.bytes().all(allowed)
}

fn refusal(errcode: i64) -> Response {
    match errcode {
        40164 => {
            let errmsg = "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist";
            error(errcode, errmsg)
        }
        _ => error(errcode, "scripted"),
    }
}

fn error(errcode: i64, errmsg: &str) -> Response {
    let rid = "66c69111-5ccc9dc8-0fd94c9e";
    text(format!(
        r#"{{"errcode":{errcode},"errmsg":"{errmsg}, rid: {rid}"}}"#
    ))
}

/// WeChat says `text/plain`, whatever it sends.
fn text(body: String) -> Response {
    ([(CONTENT_TYPE, "text/plain")], body).into_response()
}

fn html_502() -> Response {
    let page = "<html><head><title>502 Bad Gateway</title></head></html>";
    (StatusCode::BAD_GATEWAY, [(CONTENT_TYPE, "text/html")], page).into_response()
}

pub async fn serve(listener: TcpListener, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // The client may leave whenever it likes.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        });
    }
}
