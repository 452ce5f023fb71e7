//! The names of keys, and the Lua scripts for what a user has: `session_key`s, and the list of sessions and exchanges.
//! A script changes them atomically, also with several processes.
//!
//! Each call in a script names its key as `KEYS[1]` or `KEYS[2]`: proxies of managed Redis clusters refuse a
//! script that holds a key or its index in a variable.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{Cmd, cmd};

use super::{Token, UserId};

/// Adds the session ARGV[1], which lives for ARGV[2] seconds, to the list. ARGV[3], if given, is the exchange of its
/// code, remembered for ARGV[4] seconds, and ARGV[5] its `session_key`, encrypted.
///
/// The time is that of Redis, by which keys expire. The clock of a process may be wrong, and a session that is
/// removed from the list too early would survive `?all=true`.
pub(super) const LOG_IN: &str = "
    local seconds = tonumber(ARGV[2])
    local time = redis.call('TIME')
    local now = time[1] + time[2] / 1000000
    redis.call('ZREMRANGEBYSCORE', KEYS[2], -now, now)
    redis.call('ZADD', KEYS[2], now + seconds, ARGV[1])
    if ARGV[3] then
        redis.call('ZADD', KEYS[2], -now - ARGV[4], ARGV[3])
        local newest = redis.call('HGET', KEYS[1], 'newest')
        if newest and newest ~= ARGV[5] then
            redis.call('HSET', KEYS[1], 'previous', newest)
        end
        redis.call('HSET', KEYS[1], 'newest', ARGV[5], 'failures', 0)
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

/// Counts a failure. After ARGV[1], no key is left that the next login could keep as the previous one.
pub(super) const COUNT_FAILURE: &str = "
    if redis.call('HGET', KEYS[1], 'newest')
        and redis.call('HINCRBY', KEYS[1], 'failures', 1) >= tonumber(ARGV[1]) then
        redis.call('HSET', KEYS[1], 'newest', '', 'previous', '')
    end";

/// Removes ARGV from the list, and the keys unless the user has logged in since.
pub(super) const FORGET_ALL: &str = "
    for i = 1, #ARGV do
        redis.call('ZREM', KEYS[2], ARGV[i])
    end
    if redis.call('ZCOUNT', KEYS[2], '-inf', '+inf') == 0 then
        redis.call('DEL', KEYS[1])
    end";

/// A script for the keys of a user.
pub(super) fn script(text: &str, user: UserId<'_>) -> Cmd {
    cmd("EVAL")
        .arg(text)
        .arg(2)
        .arg(keys_at(user))
        .arg(owned_at(user))
        .take()
}

pub(super) fn session_name(token: &Token) -> String {
    format!("session:{}", URL_SAFE_NO_PAD.encode(token.hash()))
}

pub(super) fn exchange_name(code: &[u8; 32]) -> String {
    format!("exchange:{}", URL_SAFE_NO_PAD.encode(code))
}

/// The key of this name.
pub(super) fn at(name: &str) -> String {
    format!("wxlogin2:{name}")
}

pub(super) fn keys_at(user: UserId<'_>) -> String {
    at(&format!("keys:{{{}:{}}}", user.appid, user.openid))
}

/// The hash tag in braces: both keys of a script must be in the same cluster slot.
pub(super) fn owned_at(user: UserId<'_>) -> String {
    at(&format!("owned:{{{}:{}}}", user.appid, user.openid))
}
