//! The list of codes, which are scripts too.

use std::fmt::Write;

use super::html::code;
use super::texts::Texts;

/// What a code does, in English and in Chinese.
const SCRIPTS: &[(&str, [&str; 2])] = &[
    (
        "user-NAME",
        ["NAME logs in, with a unionid", "NAME 登录，有 unionid"],
    ),
    (
        "guest-NAME",
        ["NAME logs in, without a unionid", "NAME 登录，没有 unionid"],
    ),
    (
        "new-user",
        ["a user who has never logged in", "从未登录过的新用户"],
    ),
    (
        "phone-NAME",
        [
            "as a phone code: NAME's number",
            "作为手机号 code：NAME 的手机号",
        ],
    ),
    (
        "error-N",
        [
            "errcode N, such as error--1",
            "返回 errcode N，例如 error--1",
        ],
    ),
    (
        "busy-N",
        [
            "errcode -1 N times, then a login or a number",
            "先返回 N 次 errcode -1，然后成功",
        ],
    ),
    (
        "busy-used",
        ["errcode -1, then 40163", "先返回 errcode -1，再返回 40163"],
    ),
    (
        "slow-MS",
        ["a login or a number after MS milliseconds", "MS 毫秒后成功"],
    ),
    ("hang", ["no answer", "不返回"]),
    ("garbage", ["not JSON", "不是 JSON"]),
    ("empty", ["an empty answer", "空响应"]),
    (
        "html-502",
        ["HTTP 502 with a page of HTML", "HTTP 502 和一个 HTML 页面"],
    ),
    (
        "incomplete",
        [
            "an answer without session_key, phone number or access_token",
            "响应中缺少 session_key、手机号或 access_token",
        ],
    ),
    (
        "0a1B…",
        [
            "32 characters, as from a real wx.login: the user devtools",
            "32 个字符，真实的 wx.login 给出的 code：用户 devtools",
        ],
    ),
];

pub fn render(texts: &Texts) -> String {
    let language = usize::from(texts.lang != "en");
    let rows = SCRIPTS
        .iter()
        .fold(String::new(), |mut all, (script, meanings)| {
            let _ = write!(
                all,
                "<dt>{}</dt><dd>{}</dd>",
                code(script),
                meanings[language]
            );
            all
        });
    format!(
        r#"<details><summary>{}</summary><dl class="codes">{rows}</dl><p class="hint">{}</p></details>"#,
        texts.all_codes, texts.codes_hint
    )
}
