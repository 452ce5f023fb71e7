//! The Lua scripts for what a user has: keys, and the list of sessions and exchanges. A script changes them
//! atomically, also with several processes.
//!
//! Each call in a script names its key as `KEYS[1]` or `KEYS[2]`: proxies of managed Redis clusters refuse a
//! script that holds a key or its index in a variable.

use redis::{Cmd, cmd};

use super::names::{keys_at, owned_at};
use super::{EXCHANGE_TTL, EncryptedKey, UserId};

/// Adds the session ARGV[1], which lives for ARGV[2] seconds, and the exchange ARGV[3] to the list, unless that
/// is empty. It is remembered for ARGV[4] seconds. ARGV[5], if given, is its `session_key`, encrypted; ARGV[6]
/// and further ones are the same key encrypted with other AppSecrets.
///
/// The time is that of Redis, by which keys expire. The clock of a process may be wrong, and a session that is
/// removed from the list too early would survive `?all=true`.
const LOG_IN: &str = "
    local seconds = tonumber(ARGV[2])
    local time = redis.call('TIME')
    local now = time[1] + time[2] / 1000000
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
    redis.call('ZREMRANGEBYSCORE', KEYS[2], -now, now)
    redis.call('ZADD', KEYS[2], now + seconds, ARGV[1])
    if ARGV[3] ~= '' then
        redis.call('ZADD', KEYS[2], -now - ARGV[4], ARGV[3])
    end
    if redis.call('PTTL', KEYS[1]) < seconds * 1000 then
        redis.call('EXPIRE', KEYS[1], seconds)
    end
    if redis.call('PTTL', KEYS[2]) < seconds * 1000 then
        redis.call('EXPIRE', KEYS[2], seconds)
    end";

/// Returns the newest key if a session is alive, unless there have been ARGV[1] failures.
pub(super) const NEWEST_KEY: &str = "
    local time = redis.call('TIME')
    local sessions = redis.call('ZCOUNT', KEYS[2], time[1] + time[2] / 1000000, '+inf')
    local failures = redis.call('HGET', KEYS[1], 'failures') or 0
    if sessions == 0 or tonumber(failures) >= tonumber(ARGV[1]) then
        return false
    end
    return redis.call('HGET', KEYS[1], 'newest')";

pub(super) const COUNT_FAILURE: &str = "
    if redis.call('HGET', KEYS[1], 'newest') then
        redis.call('HINCRBY', KEYS[1], 'failures', 1)
    end";

/// Removes ARGV from the list, and the keys unless the user has logged in since.
pub(super) const FORGET_ALL: &str = "
    for i = 1, #ARGV do
        redis.call('ZREM', KEYS[2], ARGV[i])
    end
    if redis.call('ZCOUNT', KEYS[2], '-inf', '+inf') == 0 then
        redis.call('DEL', KEYS[1])
    end";

/// `session` and `exchange` are names, `seconds` is the life of the session. `keys` is the `session_key` of the
/// exchange, encrypted with each AppSecret.
pub(super) fn log_in(
    user: UserId<'_>,
    session: &str,
    seconds: u64,
    exchange: Option<&str>,
    keys: &[EncryptedKey],
) -> Cmd {
    let mut command = script(LOG_IN, user);
    command.arg(session).arg(seconds);
    command
        .arg(exchange.unwrap_or_default())
        .arg(EXCHANGE_TTL.as_secs());
    for key in keys {
        command.arg(&key.0[..]);
    }
    command
}

/// A script for the keys of a user.
pub(super) fn script(text: &str, user: UserId<'_>) -> Cmd {
    cmd("EVAL")
        .arg(text)
        .arg(2)
        .arg(keys_at(user))
        .arg(owned_at(user))
        .take()
}
