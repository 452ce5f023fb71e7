//! What happens to a user's keys, each as one step that no other replica comes between.

use redis::{Cmd, cmd};

use super::{MAX_FAILURES, Seal, UserId};

/// A session of the user lives for ARGV[1] more seconds. With ARGV[2], a new login has brought the key
/// that this seals; what follows are other seals of the same key.
const LOG_IN: &str = "
    if ARGV[2] then
        local newest = redis.call('HGET', KEYS[1], 'newest')
        local same = false
        for i = 2, #ARGV do
            same = same or newest == ARGV[i]
        end
        if newest and not same then
            redis.call('HSET', KEYS[1], 'previous', newest)
        end
        redis.call('HSET', KEYS[1], 'newest', ARGV[2], 'failures', 0)
    end
    if redis.call('TTL', KEYS[1]) < tonumber(ARGV[1]) then
        redis.call('EXPIRE', KEYS[1], ARGV[1])
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

pub(super) fn log_in(user: &UserId, seconds: u64, seals: &[Seal]) -> Cmd {
    let mut command = script(LOG_IN, user);
    command.arg(seconds);
    for seal in seals {
        command.arg(seal.as_bytes());
    }
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
    format!("wxlogin:keys:{}:{}", user.appid, user.openid)
}
