//! The documentation: links have targets, pages are short, and both languages have the same headings and tables.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

const LANGUAGES: [&str; 2] = ["en", "zh-CN"];
const MAX_FRONT_PAGE: usize = 130;
const MAX_PAGE: usize = 300;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Markdown files in a directory, if it exists.
fn pages_in(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect()
}

fn all_pages() -> BTreeSet<PathBuf> {
    let mut pages = pages_in(root());
    for language in LANGUAGES {
        pages.extend(pages_in(&root().join("docs").join(language)));
    }
    pages.extend(pages_in(&root().join("examples/miniprogram")));
    pages
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

fn headings(text: &str) -> Vec<(usize, String)> {
    let heading = |line: &str| {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        (level > 0).then(|| (level, title.trim().to_owned()))
    };
    prose(text).filter_map(heading).collect()
}

/// The fragments that GitHub gives headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let anchor = |(_, title): (usize, String)| {
        let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let kept: String = title.to_lowercase().chars().filter(is_kept).collect();
        let anchor = kept.replace(' ', "-");
        let count = seen.entry(anchor.clone()).or_default();
        *count += 1;
        match *count {
            1 => anchor,
            more => format!("{anchor}-{}", more - 1),
        }
    };
    headings(text).into_iter().map(anchor).collect()
}

/// The targets of `[text](target)`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        // Every second part is between backticks.
        let line: String = line.split('`').step_by(2).collect();
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            links.push(target.to_owned());
        }
    }
    links
}

/// The rows of each table, without the separator under the head.
fn tables(text: &str) -> Vec<usize> {
    let mut tables = Vec::new();
    let mut rows = 0;
    for line in prose(text).chain([""]) {
        if line.starts_with('|') {
            rows += 1;
        } else if rows > 0 {
            tables.push(rows - 1);
            rows = 0;
        }
    }
    tables
}

/// The language of each code block.
fn code_blocks(text: &str) -> Vec<&str> {
    let fences = text.lines().filter_map(|line| line.strip_prefix("```"));
    fences.step_by(2).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in all_pages() {
        for link in links(&read(&page)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let leads =
                target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !leads {
                let page = page.strip_prefix(root()).unwrap();
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_page_is_too_long() {
    for page in all_pages() {
        let is_front_page =
            page.file_name().unwrap() == "README.md" && page.parent() == Some(root());
        let limit = if is_front_page || page.ends_with("README.zh-CN.md") {
            MAX_FRONT_PAGE
        } else {
            MAX_PAGE
        };
        let lines = read(&page).lines().count();
        assert!(lines <= limit, "{}: {lines} lines", page.display());
    }
}

#[test]
fn every_page_is_linked_from_the_front_page() {
    for language in LANGUAGES {
        let front_page = match language {
            "en" => "README.md".to_owned(),
            other => format!("README.{other}.md"),
        };
        let links = links(&read(&root().join(&front_page)));
        for page in pages_in(&root().join("docs").join(language)) {
            let path = page.strip_prefix(root()).unwrap().to_str().unwrap();
            let is_linked = links
                .iter()
                .any(|link| link.split('#').next() == Some(path));
            assert!(is_linked, "{path} is not in {front_page}");
        }
    }
}

#[test]
fn both_languages_have_the_same_pages_headings_tables_and_code_blocks() {
    let [english, chinese] = LANGUAGES.map(|language| root().join("docs").join(language));
    let names = |dir: &Path| -> BTreeSet<_> {
        let pages = pages_in(dir).into_iter();
        pages
            .map(|page| page.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&english), names(&chinese));
    let pages = names(&english).into_iter();
    let mut pairs: Vec<_> = pages
        .map(|name| (english.join(&name), chinese.join(&name)))
        .collect();
    pairs.push((root().join("README.md"), root().join("README.zh-CN.md")));
    for (english, chinese) in pairs {
        let levels = |path: &Path| -> Vec<_> {
            let headings = headings(&read(path)).into_iter();
            headings.map(|(level, _)| level).collect()
        };
        let name = english.display();
        assert_eq!(
            levels(&english),
            levels(&chinese),
            "levels of headings: {name}"
        );
        assert_eq!(
            tables(&read(&english)),
            tables(&read(&chinese)),
            "rows of tables: {name}"
        );
        assert_eq!(
            code_blocks(&read(&english)),
            code_blocks(&read(&chinese)),
            "code blocks: {name}"
        );
    }
}
