//! The Lua scripts that change a user's keys and tokens atomically, also with several replicas.

use redis::{Cmd, cmd};

use super::{EncryptedKey, MAX_FAILURES, TokenHash, UserId, encode};

/// Adds the token ARGV[1], whose session lives for ARGV[2] seconds. ARGV[3], if given, is the `session_key`
/// of a new login, encrypted; ARGV[4] and further ones are the same key encrypted with other AppSecrets.
///
/// Removes tokens whose sessions have expired. The current time is computed from the sorted set: it expires
/// together with its highest score, so that score minus the remaining TTL is now, on the clock by which Redis
/// expires keys. The clock of a replica may be wrong, and a token that is removed too early would survive
/// `?all=true`.
///
/// Here and below each call names its key as `KEYS[n]`: proxies of managed Redis clusters refuse a script
/// that holds a key in a variable.
const LOG_IN: &str = "
    local seconds = tonumber(ARGV[2])
    if ARGV[3] then
        local newest = redis.call('HGET', KEYS[1], 'newest')
        local same = false
        for i = 3, #ARGV do
            same = same or newest == ARGV[i]
        end
        if newest and not same then
            redis.call('HSET', KEYS[1], 'previous', newest)
        end
        redis.call('HSET', KEYS[1], 'newest', ARGV[3], 'failures', 0)
    end
    local now = 0
    local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
    if last[2] then
        now = last[2] - redis.call('PTTL', KEYS[2]) / 1000
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    redis.call('ZADD', KEYS[2], now + seconds, ARGV[1])
    if redis.call('PTTL', KEYS[1]) < seconds * 1000 then
        redis.call('EXPIRE', KEYS[1], seconds)
    end
    if redis.call('PTTL', KEYS[2]) < seconds * 1000 then
        redis.call('EXPIRE', KEYS[2], seconds)
    end";

/// Returns the keys, unless there have been ARGV[1] failures.
const KEYS: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'failures') or 0) >= tonumber(ARGV[1]) then
        return {}
    end
    return redis.call('HMGET', KEYS[1], 'newest', 'previous')";

/// Counts a failure in advance and returns the keys, unless there have been ARGV[1] failures.
const BEGIN_ATTEMPT: &str = "
    local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or 0)
    if failures >= tonumber(ARGV[1]) or redis.call('HEXISTS', KEYS[1], 'newest') == 0 then
        return {}
    end
    redis.call('HINCRBY', KEYS[1], 'failures', 1)
    return redis.call('HMGET', KEYS[1], 'newest', 'previous')";

/// Subtracts a failure that was counted in advance, unless a login has reset the count since.
const UNDO_FAILURE: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'failures') or 0) > 0 then
        redis.call('HINCRBY', KEYS[1], 'failures', -1)
    end";

/// Drops the keys if there have been ARGV[1] failures.
const DROP_KEYS: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'failures') or 0) >= tonumber(ARGV[1]) then
        redis.call('HDEL', KEYS[1], 'newest', 'previous')
    end";

/// Removes the tokens in ARGV, and drops the keys unless the user has logged in since.
const REMOVE_TOKENS: &str = "
    for i = 1, #ARGV do
        redis.call('ZREM', KEYS[2], ARGV[i])
    end
    if redis.call('ZCARD', KEYS[2]) == 0 then
        redis.call('DEL', KEYS[1])
    end";

/// A new session.
pub(super) struct LogIn<'a> {
    pub(super) token: TokenHash,
    /// The life of the session.
    pub(super) seconds: u64,
    /// The `session_key` of the login, encrypted with each AppSecret; empty if the session repeats a login.
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
        command.arg(encode(&self.token.0)).arg(self.seconds);
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

pub(super) fn remove_tokens(user: &UserId, tokens: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command
        .arg(REMOVE_TOKENS)
        .arg(2)
        .arg(key(user))
        .arg(tokens_key(user));
    command.arg(tokens);
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
        return script(UNDO_FAILURE, user);
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

/// The hash tag in braces: both keys of a script must be in the same cluster slot.
fn tokens_key(user: &UserId) -> String {
    format!("wxlogin:tokens:{{{}:{}}}", user.appid, user.openid)
}
