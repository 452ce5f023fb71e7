//! What the sandbox prints when it has started: one screen, in both languages.

use super::fake_wechat::{APPID, SECRET};
use super::listeners::{Replaced, lan_address};
use super::options::Openness;
use super::settings::{INTERNAL_TOKEN, without_effect};
use super::state::Addresses;

pub fn print(addresses: Addresses, openness: Openness, replaced: &[Replaced]) {
    let mut lines = vec![
        "wxlogin's sandbox, with a stand-in for WeChat. Ctrl-C ends it and forgets everything."
            .into(),
        "wxlogin 沙箱，附带模拟微信。按 Ctrl-C 结束，所有数据都会消失。".into(),
        String::new(),
    ];
    lines.extend(replaced.iter().map(|Replaced { wanted, listening }| {
        let (wanted, port) = (wanted.port(), listening.port());
        format!("  Port {wanted} is taken: {port} instead. 端口 {wanted} 已被占用，改用 {port}。")
    }));
    let names = without_effect(std::env::vars().map(|(name, _)| name));
    lines.extend(names.iter().map(|name| {
        format!("  {name} has no effect here: the sandbox sets it. 沙箱自行设置，{name} 在此无效。")
    }));
    lines.extend(list(addresses));
    lines.extend(warning(addresses, openness));
    lines.extend([
        String::new(),
        format!(
            "  curl 'http://{}/onLogin?code=user-alice'",
            addresses.public
        ),
        String::new(),
    ]);
    lines.extend(CODES.map(str::to_owned));
    lines.extend(for_others(addresses));
    println!("{}", lines.join("\n"));
}

const CODES: [&str; 4] = [
    "The code says what WeChat does: user-NAME logs NAME in, error-40029 gets errcode 40029.",
    "A login uses its code up; user-alice.2 is a new one. Codes of a real wx.login are the user devtools.",
    "code 决定微信怎么返回：user-名字 表示登录，error-40029 表示返回 errcode 40029。",
    "登录后 code 失效，user-alice.2 就是新的 code。真实 wx.login 的 code 登录为用户 devtools。",
];

fn list(addresses: Addresses) -> [String; 3] {
    let Addresses {
        public,
        internal,
        page,
    } = addresses;
    [
        format!("  Page 页面                  http://{page}/"),
        format!("  Service 登录服务           http://{public}"),
        format!("  Internal listener 内部端口 http://{internal}"),
    ]
}

fn warning(addresses: Addresses, openness: Openness) -> Vec<String> {
    match openness {
        Openness::Nothing => Vec::new(),
        Openness::PublicListener => {
            let port = addresses.public.port();
            let host = lan_address();
            let host = host.map_or("ADDRESS-OF-THIS-COMPUTER".to_owned(), |ip| ip.to_string());
            vec![
                format!("  Phones 手机 (base.develop) http://{host}:{port}"),
                "  Everybody in this network can log in here. 同一网络中的任何人都能在此登录。".into(),
            ]
        }
        Openness::Everything => vec![
            "  Whoever reaches this container can use all three. 能访问此容器的人都能使用这三个地址。".into(),
        ],
    }
}

fn for_others(addresses: Addresses) -> [String; 7] {
    [
        String::new(),
        "For the real binary or another SDK 供正式程序或其他 SDK 使用：".into(),
        format!("  WECHAT_APPID={APPID}"),
        format!("  WECHAT_SECRET={SECRET}"),
        format!("  WECHAT_API_BASE={}", addresses.base()),
        "For a backend at the internal listener 供后端访问内部端口：".into(),
        format!("  INTERNAL_TOKEN={INTERNAL_TOKEN}"),
    ]
}
