//! Error messages for the operator, without stored data.

use std::error::Error;

use redis::{Arg, Cmd, ErrorKind, RedisError};

/// What a Redis user needs to have, in the words of `ACL SETUSER`: all keys and commands that are used here and
/// in the scripts, and by the library with databases and clusters.
const PERMISSIONS: &str = "~wxlogin2:* +asking +cluster|slots +del +eval +expire +get +hget +hincrby +hmget +hset +info +ping +pttl +select +set +time +zadd +zcount +zrange +zrem +zremrangebyscore";

/// Redis' words, or the system's error. `commands` were sent.
pub(super) fn describe(error: &RedisError, commands: &[Cmd]) -> String {
    let server_errors = error.clone().into_server_errors();
    let text = match server_errors.as_deref().and_then(<[_]>::first) {
        Some((_, error)) => {
            let details = error.details().unwrap_or_default();
            let words = without_data(&format!("{} {details}", error.code()));
            let call = commands.iter().find_map(|it| script_call(it, details));
            format!("Redis answered {words}{}", call.unwrap_or_default())
        }
        None => describe_other(error),
    };
    if text.contains(" permission") || text.contains(" can't run this command") {
        return format!("{text}; its user needs {PERMISSIONS}");
    }
    text
}

fn describe_other(error: &RedisError) -> String {
    match (error.kind(), error.source()) {
        (ErrorKind::Io, Some(cause)) => cause.to_string(),
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => error.category().to_owned(),
        (_, _) => {
            // The library's message comes before the error kind and the detail.
            let text = error.to_string();
            let own = text.split(" - ").next().unwrap_or_default();
            match error.detail() {
                Some(detail) => format!("{own}: {}", without_data(detail)),
                None => own.to_owned(),
            }
        }
    }
}

/// The text without what can be a key or a value: it ends before the arguments that Redis quotes, and … stands
/// for a word that is long, or that has characters of ours and not of plain text.
fn without_data(text: &str) -> String {
    let text = text.split(", with args beginning with").next();
    let words = text.unwrap_or_default().split_ascii_whitespace().take(60);
    let is_name = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let is_odd = |b: u8| !b.is_ascii_graphic() || b"{}[]\"\\".contains(&b);
    let is_plain = |word: &str| is_name(word) || word.len() <= 24 && !word.bytes().any(is_odd);
    let words = words.map(|word| if is_plain(word) { word } else { "…" });
    words.collect::<Vec<_>>().join(" ")
}

/// The command at which a script ended: Redis 7.0 tells its line only.
fn script_call(command: &Cmd, details: &str) -> Option<String> {
    let (_, line) = details.split_once("@user_script:")?;
    let line: usize = line.split(['.', ':', ' ']).next()?.parse().ok()?;
    let Some(Arg::Simple(script)) = command.args_iter().nth(1) else {
        return None;
    };
    let mut lines = str::from_utf8(script).ok()?.lines();
    let line = lines.nth(line.checked_sub(1)?)?;
    let (_, call) = line.split_once("redis.call('")?;
    Some(format!(" at {}", call.split('\'').next()?))
}
