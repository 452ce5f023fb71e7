//! The page for those who search for an error: each errcode of WeChat's that has a meaning here has a row, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use wxlogin::wechat::{Call, Meaning};

/// The page and the heading of its table, in each language.
const TABLES: [(&str, &str); 2] = [
    ("docs/en/troubleshooting.md", "## WeChat errcodes"),
    ("docs/zh-CN/troubleshooting.md", "## 微信 errcode"),
];

/// The errcodes in the first column of the table.
fn rows(page: &str, heading: &str) -> BTreeSet<i64> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## "));
    let cells = lines.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let errcodes = cells.flat_map(|cell| cell.split([',', '、']));
    errcodes
        .filter_map(|text| text.trim().parse().ok())
        .collect()
}

#[test]
fn each_errcode_with_a_meaning_has_a_row_in_both_languages() {
    let has_meaning = |errcode: &i64| {
        let meanings = Call::ALL.map(|call| Meaning::of(call, *errcode));
        meanings
            .iter()
            .any(|meaning| !matches!(meaning, Meaning::Unknown))
    };
    let known: BTreeSet<i64> = (-1000..100_000).filter(has_meaning).collect();
    for (page, heading) in TABLES {
        assert_eq!(rows(page, heading), known, "{page}");
    }
}
