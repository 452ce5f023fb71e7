//! Checks that Redis has the permissions, scripts and memory that sessions need: for `/readyz`, the start
//! and `wxlogin check`.

use super::{
    EXCHANGE_TTL, EncryptedExchange, EncryptedKey, RedisStore, Row, Session, Unavailable, UserId,
};

/// What the check logs in.
const USER: UserId<'_> = UserId {
    appid: "check",
    openid: "check",
};
const SESSION: &str = "session:check";
const CODE: [u8; 32] = [0; 32];

impl RedisStore {
    /// Runs the commands of a login, a lookup and a logout on keys of its own: only these show missing
    /// permissions, refused scripts, full memory or a read-only replica.
    pub(in crate::session) async fn check(&self) -> Result<(), Unavailable> {
        self.check_login().await?;
        self.exchanged(&CODE).await?;
        self.find_named(SESSION).await?;
        // Another process may check at the same time and end this session first.
        self.end_owned(USER, Some(SESSION)).await.map(drop)
    }

    async fn check_login(&self) -> Result<(), Unavailable> {
        let row = Row {
            seal: [0; 32],
            session: Session::new(USER, None, self.clock.now(), EXCHANGE_TTL),
        };
        let exchange = EncryptedExchange {
            code: CODE,
            keys: vec![EncryptedKey::ZERO],
        };
        self.log_in(SESSION, &row, Some(&exchange)).await
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
            self.check_login().await?;
            self.keys(USER).await?;
            self.newest_key(USER).await?;
            self.count_failure(USER).await?;
            self.end_owned(USER, Some(SESSION)).await
        };
        if let Err(error) = attempt.await {
            warnings.push(format!("user data cannot be decrypted: {error}"));
        }
        warnings
    }

    async fn info(&self, section: &str) -> Result<Vec<String>, Unavailable> {
        self.bounded(self.connections.info(section)).await
    }
}

/// The value of a field in the answer to `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name)?;
    Some(value.trim())
}
