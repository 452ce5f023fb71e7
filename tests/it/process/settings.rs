//! The settings, their problems and their warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use secrecy::ExposeSecret;
use tracing::Level;
use wxlogin::config::{self, Config, ServerConfig};
use wxlogin::session::StoreUrl;

const REQUIRED: [(&str, &str); 2] = [
    ("WECHAT_APPID", "wx0123456789abcdef"),
    ("WECHAT_SECRET", "0123456789abcdef0123456789abcdef"),
];

fn with(settings: &[(&str, &str)]) -> Result<ServerConfig, config::Problems> {
    let settings = REQUIRED.iter().chain(settings);
    ServerConfig::from_vars(
        &settings
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    )
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = with(&[]).unwrap();
    assert_eq!(config.listen_addr.to_string(), "127.0.0.1:3000");
    let bases: Vec<_> = config
        .service
        .wechat
        .api_bases
        .iter()
        .map(reqwest::Url::as_str)
        .collect();
    assert_eq!(
        bases,
        ["https://api.weixin.qq.com/", "https://api2.weixin.qq.com/"]
    );
    assert_eq!(config.service.wechat.max_in_flight, 1024);
    assert_eq!(config.service.wechat.timeout, Duration::from_secs(4));
    assert!(
        matches!(config.service.sessions.url, StoreUrl::File(path) if path == Path::new("wxlogin.sessions"))
    );
    assert_eq!(config.service.sessions.ttl, Duration::from_secs(604_800));
    assert!(
        config.service.warnings.is_empty(),
        "{:?}",
        config.service.warnings
    );
}

#[test]
fn values_are_trimmed_and_empty_ones_are_not_set() {
    let config = with(&[
        ("WECHAT_APPID", " wx2\n"),
        ("SESSION_TTL", "\t1h "),
        ("LISTEN_ADDR", "  "),
        ("SESSION_STORE", "memory:\r"),
    ])
    .unwrap();
    assert_eq!(config.service.mini_programs[0].appid(), "wx2");
    assert_eq!(config.service.sessions.ttl, Duration::from_secs(3600));
    assert_eq!(config.listen_addr.port(), 3000);
    assert!(matches!(config.service.sessions.url, StoreUrl::Memory));
    let problems = with(&[("WECHAT_SECRET", " ")]).unwrap_err().to_string();
    assert!(
        problems.starts_with("WECHAT_SECRET is not set"),
        "{problems}"
    );
}

#[test]
fn each_wrong_value_is_refused_by_name() {
    let rows = [
        ("LISTEN_ADDR", "localhost:3000"),
        ("LISTEN_ADDR", ":3000"),
        ("INTERNAL_ADDR", "127.0.0.1:3000"),
        ("INTERNAL_ADDR", "0.0.0.0:3000"),
        ("INTERNAL_ADDR", "9090"),
        ("METRICS_ADDR", "127.0.0.1:9090"),
        ("INTERNAL_TOKEN", "fifteen-letters"),
        ("INTERNAL_TOKEN", "sixteen letters too"),
        ("INTERNAL_TOKEN", "0123456789abcdef,"),
        ("INTERNAL_TOKEN", "0123456789abcdef,0123456789abcdef"),
        (
            "INTERNAL_TOKEN",
            "0123456789abcdef,b123456789abcdef,c123456789abcdef",
        ),
        ("INTERNAL_ACCESS_TOKEN", "true"),
        ("WECHAT_APPID", "\"wx0123456789abcdef\""),
        ("WECHAT_APPID", "wx0123456789abcdef,"),
        ("WECHAT_SECRET", "s3cret:s3cret"),
        ("WECHAT_SECRET", "'s3cret'"),
        ("WECHAT_SECRET", "<s3cret>"),
        ("WECHAT_SECRET", "s3cret s3cret"),
        ("WECHAT_SECRET", "s3cret$"),
        (
            "WECHAT_API_BASE",
            "https://api.weixin.qq.com/sns/jscode2session",
        ),
        ("WECHAT_API_BASE", "https://api.weixin.qq.com/cgi-bin"),
        ("WECHAT_API_BASE", "https://api.weixin.qq.com:0"),
        (
            "WECHAT_API_BASE",
            "https://a.example,https://A.example:443/",
        ),
        ("WECHAT_API_BASE", "https://a.example/x,https://a.example/y"),
        ("WECHAT_API_BASE", "https://a.example,,https://b.example"),
        ("SESSION_TTL", "1500ms"),
        ("USERDATA_MAX_AGE", "500ms"),
        ("WECHAT_TIMEOUT", "1s 1us"),
        ("LISTEN_ADDR", "127.0.0.1:65536"),
        ("WECHAT_APPID", "wx 1"),
        ("WECHAT_API_BASE", "api.weixin.qq.com"),
        ("WECHAT_API_BASE", "ftp://api.weixin.qq.com"),
        ("WECHAT_API_BASE", "https://api.weixin.qq.com?x=1"),
        ("WECHAT_API_BASE", "https://api.weixin.qq.com#x"),
        ("WECHAT_API_BASE", "https://me@api.weixin.qq.com"),
        ("WECHAT_TIMEOUT", "4"),
        ("WECHAT_TIMEOUT", "0s"),
        ("WECHAT_TIMEOUT", "2h"),
        ("SESSION_TTL", "-7d"),
        ("SESSION_TTL", "500ms"),
        ("SESSION_TTL", "99999999y"),
        ("SESSION_STORE", "wxlogin.sessions"),
        ("SESSION_STORE", "file:"),
        ("SESSION_STORE", "memory:x"),
        ("SESSION_STORE", "redis:localhost"),
        ("SESSION_STORE", "redis://localhost:port"),
        ("SESSION_STORE", "redis://localhost/x"),
        ("SESSION_STORE", "redis+cluster://"),
        ("SESSION_STORE", "redis+cluster://a,,b"),
        ("SESSION_STORE", "postgres://localhost"),
        ("WECHAT_API_BASE", "https://api.weixin.qq.com,"),
        (
            "WECHAT_API_BASE",
            "https://api.weixin.qq.com,api2.weixin.qq.com",
        ),
        ("WECHAT_MAX_IN_FLIGHT", "0"),
        ("WECHAT_MAX_IN_FLIGHT", "many"),
        ("LOG_FORMAT", "JSON"),
        ("RUST_LOG", "a=b=c"),
        ("RUST_LOG", "warning"),
        ("RUST_LOG", "wxlogin=debug,inof"),
        ("RUST_LOG", "info,"),
        ("RUST_LOG", ",debug"),
        ("RUST_LOG", "warn, info"),
        ("RUST_LOG", "wxlogin=warn,wxlogin=info"),
        ("RUST_LOG", "wxlogin="),
        ("RUST_LOG", "wxlogin[x]=debug"),
        ("RUST_LOG", "wxlogin[{x}]=debug"),
        ("RUST_LOG", "wxlogin api=debug"),
        ("INTERNAL_ADDR", "[::ffff:127.0.0.1]:3000"),
        ("INTERNAL_ADDR", "[::ffff:0.0.0.0]:3000"),
        ("SESSION_STORE", "file:file:x"),
        ("SESSION_STORE", "file:redis://:s3cret@host"),
        ("SESSION_STORE", "file:x\ny"),
    ];
    for (name, value) in rows {
        let problems = with(&[(name, value)]).expect_err(value).to_string();
        assert!(
            problems.starts_with(&format!("{name} must ")),
            "{value}: {problems}"
        );
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
}

#[test]
fn each_part_of_rust_log_counts() {
    for (text, other, api, store) in [
        ("info", Level::INFO, Level::INFO, Level::INFO),
        ("WARN", Level::WARN, Level::WARN, Level::WARN),
        (
            "warn, wxlogin=debug",
            Level::WARN,
            Level::DEBUG,
            Level::DEBUG,
        ),
        (
            " wxlogin::api = debug ,wxlogin=error, info",
            Level::INFO,
            Level::DEBUG,
            Level::ERROR,
        ),
    ] {
        let filter = with(&[("RUST_LOG", text)]).expect(text).log.filter;
        let levels = [
            ("other", other),
            ("wxlogin::api", api),
            ("wxlogin::store", store),
        ];
        for (target, level) in levels {
            let all = [
                Level::ERROR,
                Level::WARN,
                Level::INFO,
                Level::DEBUG,
                Level::TRACE,
            ];
            for it in all {
                let is_enabled = filter.would_enable(target, &it);
                assert_eq!(is_enabled, it <= level, "{text}: {target} {it}");
            }
        }
    }
}

#[test]
fn an_entry_of_no_proxy_that_matches_no_host_is_a_warning() {
    let good = "*,example.com, .example.com,my_host,10.0.0.1,10.0.0.0/8,::1,fd00::/8,::ffff:127.0.0.0/104,";
    let bad = [
        "a b",
        "192.0.2.2:18081",
        "host:80",
        "10.0.0.0/99",
        "10.0.0.0/",
        "fd00::/129",
        "[::1]",
        "http:",
        "*.com",
        "例.com",
    ];
    for name in ["NO_PROXY", "no_proxy"] {
        let all = format!("{good},{}", bad.join(","));
        let service = with(&[(name, &all)]).unwrap().service;
        let warnings = service.warnings.iter().zip(bad);
        for (warning, entry) in warnings {
            let told = format!("{name} has {entry:?}, which matches no host");
            assert!(warning.starts_with(&told), "{warning}");
        }
        assert_eq!(service.warnings.len(), bad.len(), "{:?}", service.warnings);
        // What is left is used.
        let used = service.wechat.proxies.no_proxy;
        assert!(
            used.contains("10.0.0.0/8") && !used.contains("a b"),
            "{used}"
        );
    }
    let hidden = with(&[("NO_PROXY", "http://user:s3cret@proxy:3128")]).unwrap();
    let [warning] = &hidden.service.warnings[..] else {
        panic!("{:?}", hidden.service.warnings);
    };
    assert!(warning.starts_with("NO_PROXY has an entry, which matches no host"));
    assert!(!format!("{hidden:?}").contains("s3cret"));
}

#[test]
fn an_app_that_adds_a_mini_program_gets_its_warnings() {
    let config = Config::new(REQUIRED[0].1, REQUIRED[1].1).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let config = config.with_mini_program("wx1", REQUIRED[1].1).unwrap();
    let [warning] = &config.warnings[..] else {
        panic!("{:?}", config.warnings);
    };
    assert!(warning.starts_with("WECHAT_APPID does not look like one"));
}

fn apps(settings: &[(&str, &str)]) -> Result<Vec<(String, Vec<String>)>, String> {
    let vars = settings
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let config = Config::from_vars(&vars.collect()).map_err(|problems| problems.to_string())?;
    let programs = config.mini_programs.iter().map(|program| {
        let secrets = program.secrets().iter();
        let secrets = secrets.map(|secret| secret.expose_secret().to_owned());
        (program.appid().to_owned(), secrets.collect())
    });
    Ok(programs.collect())
}

#[test]
fn mini_programs_come_from_one_setting_or_two_and_secrets_from_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wx = |appid: &str, secrets: &[&str]| {
        let secrets = secrets.iter().map(ToString::to_string).collect();
        (appid.to_owned(), secrets)
    };
    let one = apps(&[
        ("WECHAT_APPID", "wx1"),
        ("WECHAT_SECRET_FILE", &file("secret", " s1\n")),
    ]);
    assert_eq!(one.unwrap(), [wx("wx1", &["s1"])]);
    let several = [wx("wxB", &["b1", "b2"]), wx("wxA", &["a"])];
    let text = "wxB:b1, wxA:a,wxB:b2";
    assert_eq!(apps(&[("WECHAT_APPS", text)]).unwrap(), several);
    let lines = file("apps", "wxB:b1\nwxA : a\r\n\nwxB:b2\n");
    assert_eq!(apps(&[("WECHAT_APPS_FILE", &lines)]).unwrap(), several);

    let (empty, binary) = (file("empty", "\n"), dir.path().join("binary"));
    fs::write(&binary, b"s3cret\xff").unwrap();
    for (settings, name) in [
        (&[("WECHAT_APPS", "wx1")][..], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:s3cret,wx2:")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:s3cret s3cret")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", ",")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:s3cret,")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:s3cret,,wx2:s3cret")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:s3c:ret")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:'s3cret'")], "WECHAT_APPS"),
        (&[("WECHAT_APPS", "wx1:s3cret,wx1:s3cret")], "WECHAT_APPS"),
        (
            &[("WECHAT_APPS", "wx1:s3cret"), ("WECHAT_APPID", "wx1")],
            "WECHAT_APPS",
        ),
        (
            &[("WECHAT_APPS", "wx1:s3cret"), ("WECHAT_SECRET", "s3cret")],
            "WECHAT_APPS",
        ),
        (&[("WECHAT_APPS_FILE", "/nowhere")], "WECHAT_APPS_FILE"),
        (
            &[("WECHAT_APPS_FILE", &lines), ("WECHAT_APPS", "wx1:s3cret")],
            "WECHAT_APPS_FILE",
        ),
        (
            &[("WECHAT_APPID", "wx1"), ("WECHAT_SECRET_FILE", &empty)],
            "WECHAT_SECRET_FILE",
        ),
        (
            &[
                ("WECHAT_APPID", "wx1"),
                ("WECHAT_SECRET_FILE", binary.to_str().unwrap()),
            ],
            "WECHAT_SECRET_FILE",
        ),
    ] {
        let problems = apps(settings).unwrap_err();
        assert!(problems.starts_with(&format!("{name} ")), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
}

#[test]
fn a_file_is_read_as_editors_save_it_and_a_problem_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("apps.txt");
    let read = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        apps(&[("WECHAT_APPS_FILE", path.to_str().unwrap())])
    };
    for content in [
        "\u{feff}wx1:s1\r\nwx2:s2\r\n",
        "wx1:s1\rwx2:s2\r",
        "\n wx1:s1,wx2:s2 \n\n",
    ] {
        let programs = read(content.as_bytes()).expect(content);
        let secrets: Vec<_> = programs.iter().map(|(_, secrets)| &*secrets[0]).collect();
        assert_eq!(secrets, ["s1", "s2"], "{content:?}");
    }
    let utf_16: Vec<u8> = "wx1:s3cret"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let large = vec![b'x'; 64 * 1024 + 1];
    let with_mark = [&b"\xff\xfe"[..], &utf_16].concat();
    for (content, reason) in [
        (&b"wx1:s1\n\nwx2 s3cret\n"[..], "line 3"),
        (b"wx1:s1\nwx2:s2,wx3\n", "apps.txt, line 2 is none"),
        (b"wx1:s1\nwx2:s3cret\xff", "line 2 is not UTF-8"),
        (&with_mark, "UTF-16"),
        (&utf_16, "line 1 is none"),
        (b" \r\n", "empty"),
        (&large, "64 KiB"),
    ] {
        let problems = read(content).unwrap_err();
        assert!(problems.starts_with("WECHAT_APPS"), "{problems}");
        assert!(problems.contains(reason), "{problems}");
        assert!(problems.contains("apps.txt"), "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
    for path in ["/nowhere/secret", "s3cret", "wx1:s3cret"] {
        let problems = apps(&[("WECHAT_APPS_FILE", path)]).unwrap_err();
        assert!(problems.contains("No such file"), "{problems}");
        assert_eq!(problems.contains(path), path.contains('/'), "{problems}");
    }
}

#[test]
fn an_appid_or_appsecret_that_looks_wrong_is_a_warning() {
    let (appid, secret) = (REQUIRED[0].1, REQUIRED[1].1);
    let warnings = |settings: &[(&str, &str)]| {
        let vars = settings
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Config::from_vars(&vars.collect()).unwrap().warnings
    };
    for (appid, secret, expected) in [
        (appid, secret, &[][..]),
        (
            "wx0123456789ABCDEF",
            secret,
            &["WECHAT_APPID does not look"],
        ),
        (
            "wx1",
            "s3cret",
            &["WECHAT_APPID does not look", "WECHAT_SECRET does not look"],
        ),
        (
            appid,
            "wxfedcba9876543210",
            &["WECHAT_APPID and WECHAT_SECRET look swapped"],
        ),
    ] {
        let warnings = warnings(&[("WECHAT_APPID", appid), ("WECHAT_SECRET", secret)]);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(
                warning.starts_with(expected) && !warning.contains("s3cret"),
                "{warning}"
            );
        }
    }
    let several = format!("{appid}:{secret},{appid}:wxfedcba9876543210");
    let warnings = warnings(&[("WECHAT_APPS", &several)]);
    assert_eq!(
        warnings,
        ["WECHAT_APPS, number 2, the AppID and WECHAT_APPS, number 2, the AppSecret look swapped"]
    );

    // An AppID is logged: a secret in its place is refused.
    let several = format!("{appid}:{secret},{secret}:{appid}");
    for (settings, problem) in [
        (
            &[("WECHAT_APPID", secret), ("WECHAT_SECRET", appid)][..],
            "WECHAT_APPID and WECHAT_SECRET look swapped",
        ),
        (
            &[("WECHAT_APPS", &*several)],
            "WECHAT_APPS, number 2, the AppID and WECHAT_APPS, number 2, the AppSecret look swapped",
        ),
    ] {
        assert_eq!(apps(settings).unwrap_err(), problem);
    }
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    let config = with(&[
        ("WECHAT_APPSECRET", "x"),
        ("LOG_LEVEL", "debug"),
        ("Session_Ttl", "1h"),
        ("SESSION_MANAGER", "X11's"),
        ("PATH", "/bin"),
        ("WECHAT_API_BASE", "http://wechat-proxy.internal"),
    ])
    .unwrap();
    let names: Vec<_> = config
        .service
        .warnings
        .iter()
        .map(|warning| warning.split(' ').next().unwrap())
        .collect();
    let expected = [
        "WECHAT_API_BASE",
        "LOG_LEVEL",
        "Session_Ttl",
        "WECHAT_APPSECRET",
    ];
    assert_eq!(names, expected);
    assert!(
        config.service.warnings[2].ends_with("but SESSION_TTL is"),
        "{:?}",
        config.service.warnings
    );
    for loopback in [
        "http://127.0.0.1:1",
        "http://127.1:1",
        "http://LOCALHOST:1",
        "http://wechat.localhost.:1",
        "http://[::1]:1",
        "http://[::ffff:127.0.0.1]:1",
        "http://0.0.0.0:1",
    ] {
        assert!(
            with(&[("WECHAT_API_BASE", loopback)])
                .unwrap()
                .service
                .warnings
                .is_empty()
        );
    }
}

#[test]
fn an_internal_listener_that_is_open_to_others_or_half_set_up_is_a_warning() {
    let token = ("INTERNAL_TOKEN", "0123456789abcdef, b123456789abcdef");
    let rows = [
        (&[("INTERNAL_ADDR", "127.0.0.1:9090"), token][..], &[][..]),
        (
            &[
                ("INTERNAL_ADDR", "[::1]:9090"),
                ("INTERNAL_ACCESS_TOKEN", "off"),
            ],
            &[],
        ),
        (
            &[("INTERNAL_ADDR", "0.0.0.0:9090"), token],
            &[
                "INTERNAL_ADDR 0.0.0.0:9090 is open to other machines, and the internal listener speaks plain HTTP: keep",
            ],
        ),
        (
            &[("INTERNAL_ADDR", "10.0.0.1:9090")],
            &["INTERNAL_ADDR 10.0.0.1:9090 is open to other machines"],
        ),
        (&[token], &["INTERNAL_TOKEN is set, but not INTERNAL_ADDR"]),
        (
            &[
                ("INTERNAL_ADDR", "127.0.0.1:9090"),
                ("INTERNAL_ACCESS_TOKEN", "on"),
            ],
            &[
                "INTERNAL_TOKEN is not set: without it INTERNAL_ACCESS_TOKEN and INTERNAL_WECHAT_PATHS have no effect",
            ],
        ),
    ];
    for (settings, expected) in rows {
        let warnings = with(settings).unwrap().service.warnings;
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{warning}");
            assert!(!warning.contains("123456789abcdef"), "{warning}");
        }
    }
}

#[test]
fn internal_tokens_come_from_a_file_too_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "token-in-a-file-123\n").unwrap();
    let file = ("INTERNAL_TOKEN_FILE", path.to_str().unwrap());
    let config = with(&[("INTERNAL_ADDR", "127.0.0.1:9090"), file]).unwrap();
    let [token] = &config.internal.tokens[..] else {
        panic!("{}", config.internal.tokens.len());
    };
    assert_eq!(token.expose_secret(), "token-in-a-file-123");
    assert!(!format!("{config:?}").contains("token-in-a-file-123"));
    let both = with(&[("INTERNAL_TOKEN", "token-in-a-file-123"), file]);
    let problems = both.unwrap_err().to_string();
    assert!(
        problems.starts_with("INTERNAL_TOKEN_FILE replaces"),
        "{problems}"
    );
    // The token itself, where the name of a file belongs.
    let swapped = with(&[("INTERNAL_TOKEN_FILE", "token-of-the-team")]);
    let problems = swapped.unwrap_err().to_string();
    assert!(problems.contains("must name a file"), "{problems}");
    assert!(!problems.contains("token-of-the-team"), "{problems}");
}

#[test]
fn addresses_of_redis() {
    for (text, shown) in [
        ("redis://localhost", "Redis at localhost:6379"),
        ("redis://localhost/", "Redis at localhost:6379"),
        (
            "redis://:p%40ss@localhost:7000/15",
            "Redis at localhost:7000",
        ),
        (
            "rediss://user:pass@redis.internal",
            "Redis at redis.internal:6379 (TLS)",
        ),
        (
            "rediss://us%3Aer:pa%23%3f%2Fss@my_redis",
            "Redis at my_redis:6379 (TLS)",
        ),
        (
            "redis+cluster://one,two:7001",
            "Redis cluster at one:6379, two:7001",
        ),
        ("redis+cluster://one/0", "Redis cluster at one:6379"),
        (
            "rediss+cluster://user:a,b@one,two",
            "Redis cluster at one:6379, two:6379 (TLS)",
        ),
        ("redis://[::1]:6379", "Redis at [::1]:6379"),
        ("rediss://[::1]", "Redis at [::1]:6379 (TLS)"),
        (
            "redis+cluster://[::1]:7000,[::1]",
            "Redis cluster at [::1]:7000, [::1]:6379",
        ),
    ] {
        let config = with(&[("SESSION_STORE", text)]).expect(text);
        let StoreUrl::Redis(address) = config.service.sessions.url else {
            panic!("{text}");
        };
        assert_eq!(address.to_string(), shown);
        let debug = format!("{address:?}");
        for password in ["p@ss", "pass", "pa#?/ss", "a,b"] {
            assert!(!debug.contains(&format!("{password:?}")), "{debug}");
        }
    }
}

#[test]
fn an_address_of_redis_that_could_mean_another_is_refused_without_its_password() {
    let unescaped = "percent-encode";
    for (text, reason) in [
        // A URL parser takes the first of these for the host `default` and port 57.
        ("redis://default:57#s3cret@host", unescaped),
        ("redis://:s3c/ret@host", unescaped),
        ("redis://:s3c?ret@host", unescaped),
        ("redis://:s3c@ret@host", unescaped),
        ("redis://:s3c:ret@host", unescaped),
        ("redis://:s3c%ret@host", unescaped),
        ("redis://:s3c%4@host", unescaped),
        ("redis://:s3c%FFret@host", unescaped),
        ("redis://%C3s3c:ret@host", unescaped),
        ("redis://:s3c ret@host", unescaped),
        ("redis://:s3crét@host", unescaped),
        ("redis://:s3c[ret@host", unescaped),
        ("redis://s3cret@host", "a password follows a colon"),
        ("redis://default:@host", "a password follows a colon"),
        ("redis://@host", "a password follows a colon"),
        ("redis://:#s3cret", "a host is"),
        ("rediss://host#insecure", "a host is"),
        ("rediss://host/#insecure", "number of a database"),
        ("redis://host/0#s3cret", "number of a database"),
        ("redis://host?db=3", "number of a database"),
        ("redis://host/3?protocol=resp3", "number of a database"),
        ("redis://host/three", "number of a database"),
        ("redis://host/-1", "number of a database"),
        ("redis://host/+1", "number of a database"),
        ("redis://host/1/", "number of a database"),
        ("redis://host/99999999999", "number of a database"),
        ("redis+cluster://one,two/3", "a cluster has 0 alone"),
        ("redis+cluster://one/3,two", "number of a database"),
        ("redis+cluster://one,two,one", "named once"),
        ("redis+cluster://one,two,one:6379", "named once"),
        ("rediss+cluster://one:6379,ONE", "named once"),
        ("redis://one,two", "redis+cluster://"),
        ("redis://", "a host is"),
        ("redis:///3", "a host is"),
        ("redis://:6379", "a host is"),
        ("redis://host:", "a host is"),
        ("redis://host:0", "a host is"),
        ("redis://host:65536", "a host is"),
        ("redis://host:+1", "a host is"),
        ("redis://::1", "a host is"),
        ("redis://0.0.0.0", "a host is"),
        ("redis:host", "are followed by"),
        ("'redis://:s3cret@host'", "none of these"),
        ("unix:///run/redis.sock", "none of these"),
        ("file://host/path", "no host"),
        ("file:~/sessions", "~ is not"),
        ("memory", "none of these"),
    ] {
        let problems = with(&[("SESSION_STORE", text)])
            .expect_err(text)
            .to_string();
        assert!(problems.starts_with("SESSION_STORE must be "), "{problems}");
        assert!(problems.contains(reason), "{text}: {problems}");
        for part in ["s3c", "57#", "protocol"] {
            assert!(!problems.contains(part), "{text}: {problems}");
        }
    }
}

/// The names and values, including those that are commented out.
fn env_example() -> BTreeMap<String, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.trim_start_matches('#'))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn env_example_names_all_settings_and_no_others() {
    let example: BTreeSet<String> = env_example().into_keys().collect();
    let asked: BTreeSet<String> = config::names().iter().map(ToString::to_string).collect();
    assert_eq!(example, asked);
}

#[test]
fn env_example_works_as_it_stands_once_the_app_is_filled_in_and_shows_the_defaults() {
    let example = env_example();
    assert_eq!(example["WECHAT_APPID"], "");
    assert_eq!(example["WECHAT_SECRET"], "");
    let mut filled = example.clone();
    filled.extend(REQUIRED.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let shown = ServerConfig::from_vars(&filled).unwrap();
    assert_eq!(format!("{shown:?}"), format!("{:?}", with(&[]).unwrap()));
}

const PAGES: [&str; 2] = ["docs/en/settings.md", "docs/zh-CN/settings.md"];

/// The cells of the row for a setting.
fn row<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let name = format!("`{name}`");
    let mut rows = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    let is_meant = |row: &Vec<&str>| row[0].split(['、', ',']).any(|part| part.trim() == name);
    rows.find(is_meant)
        .unwrap_or_else(|| panic!("no row for {name}"))
}

fn read_page(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}

#[test]
fn the_documentation_has_a_row_for_each_setting_with_its_default() {
    for page in PAGES {
        let text = read_page(page);
        for (name, default) in env_example() {
            let shown = row(&text, &name)[1].trim_matches('`');
            let is_required = matches!(&*name, "WECHAT_APPID" | "WECHAT_SECRET");
            assert!(is_required || shown == default, "{name} in {page}: {shown}");
        }
    }
}

#[test]
fn the_documentation_and_the_messages_write_bounds_alike() {
    for (name, low, high) in [
        ("WECHAT_TIMEOUT", "100ms", "60s"),
        ("SESSION_TTL", "1s", "3650d"),
        ("USERDATA_MAX_AGE", "0s", "3650d"),
        ("WECHAT_MAX_IN_FLIGHT", "1", "1000000"),
    ] {
        let problems = with(&[(name, "x")]).unwrap_err().to_string();
        assert!(
            problems.contains(&format!("from {low} to {high}")),
            "{problems}"
        );
        for page in PAGES {
            let text = read_page(page);
            let meaning = row(&text, name)[2];
            for bound in [low, high] {
                assert!(meaning.contains(&format!("`{bound}`")), "{name} in {page}");
            }
        }
    }
}

#[test]
fn help_lists_every_setting_with_its_default() {
    let help = Command::new(env!("CARGO_BIN_EXE_wxlogin"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let settings = help.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("  ")?.split_once('=')?;
        let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let value = rest.split(' ').next().unwrap_or_default();
        is_name.then(|| (name.to_owned(), value.to_owned()))
    });
    assert_eq!(settings.collect::<BTreeMap<_, _>>(), env_example());
    assert!(
        help.lines().all(|line| line.chars().count() <= 110),
        "{help}"
    );
}
