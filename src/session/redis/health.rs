//! Checks that Redis has the permissions, scripts and memory that sessions need: for `/readyz`, the start
//! and `wxlogin check`.

use super::super::record::EncryptedExchange;
use super::{
    EXCHANGE_TTL, EncryptedKey, ExchangeHash, Record, Session, Store, TokenHash, Unavailable,
    UserId, session_at,
};

/// The token and the code of the check's login.
const TOKEN: TokenHash = TokenHash([0; 32]);
const HASH: ExchangeHash = ExchangeHash([0; 32]);

impl Store {
    /// Runs the commands of a login, a lookup and a logout on keys of its own: only these show missing
    /// permissions, refused scripts, full memory or a read-only replica.
    pub(in crate::session) async fn check(&self) -> Result<(), Unavailable> {
        self.log_in().await?;
        self.exchanged(HASH).await?;
        self.get::<Session>(&session_at(TOKEN)).await?;
        // Another process may check at the same time and end this session first.
        self.end_listed(&check_user(), Some(TOKEN)).await.map(drop)
    }

    async fn log_in(&self) -> Result<(), Unavailable> {
        let now = self.clock.now();
        let session = Session {
            user: check_user(),
            unionid: None,
            created: now,
            expires: now + EXCHANGE_TTL.as_secs(),
        };
        let keys = vec![EncryptedKey::ZERO];
        self.create(Record {
            token: TOKEN,
            session: &session,
            exchange: Some(EncryptedExchange { hash: HASH, keys }),
        })
        .await
        .map(drop)
    }

    /// Problems that do not fail requests yet, a sentence each.
    pub(in crate::session) async fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let (memory, replication) = (self.info("memory").await, self.info("replication").await);
        match (memory, replication) {
            (Ok(memory), Ok(replication)) => {
                let mut policies = memory
                    .iter()
                    .filter_map(|text| field(text, "maxmemory_policy"));
                if let Some(policy) = policies.find(|policy| *policy != "noeviction") {
                    warnings.push(format!(
                        "{}: maxmemory-policy is {policy}: when memory is short, Redis evicts sessions of its choice, and a session whose user ended all can go on; set it to noeviction",
                        self.address
                    ));
                }
                let mut roles = replication.iter().filter_map(|text| field(text, "role"));
                if roles.any(|role| role == "slave") {
                    warnings.push(format!(
                        "{} is a replica: what is written to it does not last; name the primary",
                        self.address
                    ));
                }
            }
            (Err(error), _) | (_, Err(error)) => warnings.push(format!(
                "cannot see whether Redis evicts sessions or is a replica: {error}"
            )),
        }
        let attempt = async {
            self.log_in().await?;
            self.begin_attempt(&check_user()).await?;
            self.end_attempt(&check_user(), None, false).await?;
            self.end_listed(&check_user(), Some(TOKEN)).await
        };
        if let Err(error) = attempt.await {
            warnings.push(format!("user data cannot be decrypted: {error}"));
        }
        warnings
    }

    async fn info(&self, section: &str) -> Result<Vec<String>, Unavailable> {
        self.bounded(self.connection.info(section)).await
    }
}

fn check_user() -> UserId {
    UserId {
        appid: "check".into(),
        openid: "check".into(),
    }
}

/// The value of a field in the answer to `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name)?;
    Some(value.trim())
}
