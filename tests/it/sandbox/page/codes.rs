//! The list of scripted codes.

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
            "N 次 errcode -1，然后成功",
        ],
    ),
    (
        "busy-used",
        ["errcode -1, then 40163", "先 errcode -1，再 40163"],
    ),
    (
        "slow-MS",
        ["a login or a number after MS milliseconds", "MS 毫秒后成功"],
    ),
    ("hang", ["no answer", "不应答"]),
    ("garbage", ["not JSON", "不是 JSON"]),
    ("empty", ["an empty answer", "空响应"]),
    (
        "html-502",
        ["HTTP 502 with a page of HTML", "HTTP 502 和一个 HTML 页面"],
    ),
    (
        "0a1B…",
        [
            "32 characters, as from wx.login in DevTools: one developer",
            "32 个字符，开发者工具中 wx.login 给出的 code：同一个开发者",
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
        r#"<details><summary>{}</summary><dl class="codes">{rows}</dl></details>"#,
        texts.all_codes
    )
}
