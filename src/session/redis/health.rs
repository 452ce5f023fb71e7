//! Checks that this is a Redis that keeps sessions: for `/readyz`, the start and `wxlogin check`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::{Value, cmd};

use super::connection::log_in;
use super::{
    EXCHANGE_TTL, EncryptedKey, RedisStore, Result, Row, Session, Token, Unavailable, UserId,
};
use crate::session::EncryptedExchange;
use crate::session::secrets::ENCRYPTED_KEY_LEN;

/// Who logs in. The keys of this user and this code are in different halves of a cluster's slots, so that a
/// cluster behind `redis://` shows.
const USER: UserId<'_> = UserId {
    appid: "check",
    openid: "check",
};
const CODE: [u8; 32] = [1; 32];

impl RedisStore {
    /// Runs all operations on keys of its own: only these show missing permissions, refused scripts, full
    /// memory or a read-only replica.
    pub(in crate::session) async fn check(&self) -> Result<()> {
        let begin = Instant::now();
        let Err(error) = self.try_all().await else {
            return Ok(());
        };
        if begin.elapsed() > Duration::from_secs(1) {
            return Err(error); // a Redis that is slow to fail is not asked what it is
        }
        let says = |words| error.0.contains(words);
        let info = match self.info().await {
            Ok(info) => info,
            Err(_) if says(" MOVED ") || says("in cluster mode") => "redis_mode:cluster".into(),
            Err(_) if says("cluster support disabled") => "redis_mode:standalone".into(),
            Err(_) => String::new(),
        };
        Err(match self.wrong_kind(&info) {
            Some(kind) => Unavailable(format!("{}; {kind}", error.0)),
            None => error,
        })
    }

    async fn try_all(&self) -> Result<()> {
        let token = Token::generate(Duration::ZERO)?;
        let session = Session::new(USER, None, 0, EXCHANGE_TTL);
        let row = Row {
            seal: [0; 32],
            session: session.clone(),
            exchange: Some(EncryptedExchange {
                code: CODE,
                key: EncryptedKey([0; ENCRYPTED_KEY_LEN]),
            }),
        };
        if self.url.is_cluster {
            // Without slots the library sends each command to any of the hosts.
            let slots = cmd("CLUSTER").arg("SLOTS").take();
            self.query::<Value>(slots).await?;
        }
        self.create(&token, row).await?;
        self.exchanged(&CODE).await?;
        self.find(&token).await?;
        self.keys(USER).await?;
        self.newest_key(USER).await?;
        self.count_failure(USER).await?;
        self.end(&token, &session).await?;
        self.end_all(USER, None).await
    }

    /// Problems that do not fail requests yet, a sentence each.
    pub(in crate::session) async fn warnings(&self) -> Vec<String> {
        let unseen = "cannot see whether Redis evicts sessions or is a replica";
        let told = |Unavailable(cause)| Some(format!("{unseen}: {cause}"));
        let warning = self.warning().await.unwrap_or_else(told);
        warning.into_iter().collect()
    }

    async fn warning(&self) -> Result<Option<String>> {
        let info = self.info().await?;
        if let Some(kind) = self.wrong_kind(&info) {
            return Ok(Some(format!("{}: {kind}", self.url)));
        }
        let mut infos = vec![info];
        if self.url.is_cluster {
            let by_node: HashMap<String, String> = self.query(cmd("INFO")).await?;
            infos.extend(by_node.into_values());
        }
        let mut policies = infos
            .iter()
            .filter_map(|info| field(info, "maxmemory_policy"));
        let evicts = policies.find(|policy| *policy != "noeviction");
        Ok(evicts.map(|policy| format!(
            "{}: maxmemory-policy is {policy}: when memory is short, Redis evicts sessions of its choice, and a session whose user ended all can go on; set it to noeviction",
            self.url
        )))
    }

    /// The answer to `INFO` of the server, or of the first host of a cluster, which may be none.
    async fn info(&self) -> Result<String> {
        let info = async {
            let (first, _) = log_in(&self.url.nodes[0]).await?;
            first.run(&[cmd("INFO")]).await
        };
        self.answer(self.bounded(info, &[]).await?)
    }

    /// What this Redis is, and what to write instead, unless it is what the URL says.
    fn wrong_kind(&self, info: &str) -> Option<String> {
        let is_cluster = self.url.is_cluster;
        let s = if self.url.is_tls { "s" } else { "" };
        let mode = field(info, "redis_mode").or_else(|| field(info, "server_mode")); // Valkey
        match (mode, field(info, "role")) {
            (Some("sentinel"), _) => Some("it is a Sentinel, which keeps no data: name the primary, or a proxy that follows it".into()),
            (Some("cluster"), _) if !is_cluster => Some(format!("it belongs to a cluster: write redis{s}+cluster:// instead of redis{s}://")),
            (Some("standalone"), _) if is_cluster => Some(format!("it belongs to no cluster: write redis{s}:// instead of redis{s}+cluster://")),
            (_, Some("slave")) if !is_cluster => Some("it is a replica, and what is written to one does not last: name the primary".into()),
            _ => None,
        }
    }
}

/// The value of a field in the answer to `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name)?;
    Some(value.trim())
}
