//! The Lua scripts that change a user's keys and tokens atomically, so that replicas do not interfere.

use redis::{Cmd, cmd};

use super::{EncryptedKey, MAX_FAILURES, TokenHash, UserId, encode};

/// The session of token ARGV[1] begins at ARGV[2], ends at ARGV[3], and lives for ARGV[4] more seconds.
/// With ARGV[5], it is a new login, which has brought this key, encrypted; what follows is the
/// same key encrypted with other AppSecrets.
///
/// Here and below each call names its key as `KEYS[n]`, since proxies of managed Redis clusters refuse
/// a script that keeps a key in a variable.
const LOG_IN: &str = "
    local seconds = tonumber(ARGV[4])
    if ARGV[5] then
        local newest = redis.call('HGET', KEYS[1], 'newest')
        local same = false
        for i = 5, #ARGV do
            same = same or newest == ARGV[i]
        end
        if newest and not same then
            redis.call('HSET', KEYS[1], 'previous', newest)
        end
        redis.call('HSET', KEYS[1], 'newest', ARGV[5], 'failures', 0)
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
    if redis.call('TTL', KEYS[1]) < seconds then
        redis.call('EXPIRE', KEYS[1], seconds)
    end
    if redis.call('TTL', KEYS[2]) < seconds then
        redis.call('EXPIRE', KEYS[2], seconds)
    end";

/// The keys, unless there have been ARGV[1] failures.
const KEYS: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'failures') or 0) >= tonumber(ARGV[1]) then
        return {}
    end
    return redis.call('HMGET', KEYS[1], 'newest', 'previous')";

/// The keys, and one failure more, unless there have been ARGV[1] already.
const BEGIN_ATTEMPT: &str = "
    local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or 0)
    if failures >= tonumber(ARGV[1]) or redis.call('HEXISTS', KEYS[1], 'newest') == 0 then
        return {}
    end
    redis.call('HINCRBY', KEYS[1], 'failures', 1)
    return redis.call('HMGET', KEYS[1], 'newest', 'previous')";

/// The failure did not happen. There is none any more if the user has logged in meanwhile.
const TAKE_BACK: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'failures') or 0) > 0 then
        redis.call('HINCRBY', KEYS[1], 'failures', -1)
    end";

/// The failure did happen; if it was number ARGV[1], it was the last.
const DROP_KEYS: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'failures') or 0) >= tonumber(ARGV[1]) then
        redis.call('HDEL', KEYS[1], 'newest', 'previous')
    end";

/// A session that begins.
pub(super) struct LogIn<'a> {
    pub(super) token: TokenHash,
    /// Unix seconds.
    pub(super) now: u64,
    pub(super) expires: u64,
    /// From now until then.
    pub(super) seconds: u64,
    /// Of the key that came with it, if one did.
    pub(super) keys: &'a [EncryptedKey],
}

impl LogIn<'_> {
    pub(super) fn command(&self, user: &UserId) -> Cmd {
        let mut command = cmd("EVAL");
        command
            .arg(LOG_IN)
            .arg(2)
            .arg(key(user))
            .arg(tokens_key(user));
        command.arg(encode(&self.token.0));
        command.arg(self.now).arg(self.expires).arg(self.seconds);
        for key in self.keys {
            command.arg(key.as_bytes());
        }
        command
    }
}

/// The hashes of the user's tokens.
pub(super) fn tokens(user: &UserId) -> Cmd {
    let mut command = cmd("ZRANGE");
    command.arg(tokens_key(user)).arg(0).arg(-1);
    command
}

pub(super) fn forget_tokens(user: &UserId, tokens: &[String]) -> Cmd {
    let mut command = cmd("ZREM");
    command.arg(tokens_key(user)).arg(tokens);
    command
}

pub(super) fn keys(user: &UserId) -> Cmd {
    let mut command = script(KEYS, user);
    command.arg(MAX_FAILURES);
    command
}

pub(super) fn begin_attempt(user: &UserId) -> Cmd {
    let mut command = script(BEGIN_ATTEMPT, user);
    command.arg(MAX_FAILURES);
    command
}

pub(super) fn end_attempt(user: &UserId, failed: bool) -> Cmd {
    if !failed {
        return script(TAKE_BACK, user);
    }
    let mut command = script(DROP_KEYS, user);
    command.arg(MAX_FAILURES);
    command
}

fn script(text: &str, user: &UserId) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(key(user));
    command
}

fn key(user: &UserId) -> String {
    format!("wxlogin:keys:{{{}:{}}}", user.appid, user.openid)
}

/// The braces keep it on the same node of a cluster as the keys, so that one script can have both.
fn tokens_key(user: &UserId) -> String {
    format!("wxlogin:tokens:{{{}:{}}}", user.appid, user.openid)
}
