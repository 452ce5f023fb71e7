//! The sandbox's arguments and environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use super::listeners::Wanted;

const HELP: &str = "\
sandbox - wxlogin and a stand-in for WeChat in one process, with a page to look at
          wxlogin 和模拟微信，在同一个进程中，附带一个网页

Usage 用法: sandbox [--lan | --container]
       or 或: cargo sandbox [--lan | --container]

  --lan        the service alone listens on all addresses, for phones in the same network
               只有登录服务监听所有地址，供同一网络中的手机访问
  --container  everything listens on all addresses, for a container whose ports are published
               全部监听所有地址，用于容器
  --help       this text 显示本说明

Without an option everything stays on this machine. 不加选项时，只有本机可以访问。

From the environment 环境变量:
  LISTEN_ADDR    the service 登录服务        default 默认 127.0.0.1:3000
  PAGE_ADDR      the page and WeChat 页面    default 默认 127.0.0.1:3001
  INTERNAL_ADDR  internal listener 内部端口  default 默认 127.0.0.1:9090
The other settings of wxlogin, such as SESSION_TTL, but for Mini Program, store and internal token.
wxlogin 的其他设置也有效，例如 SESSION_TTL；小程序、会话存储和内部 token 由沙箱自行设置。
An address that is set is used or the start fails with status 1. A default port that is taken is replaced
by the next free one. --lan and --container keep the port of such an address and replace the rest.
设置了的地址若被占用，启动失败，退出码为 1；默认端口若被占用，改用下一个空闲端口。
";

/// Wrong arguments or settings.
pub const USAGE: u8 = 2;

pub struct Options {
    pub public: Wanted,
    pub page: Wanted,
    pub internal: Wanted,
    pub openness: Openness,
}

/// What other machines can reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Openness {
    Nothing,
    PublicListener,
    Everything,
}

impl Options {
    /// The options, or the exit status after printing the problem.
    pub fn read(
        arguments: &[String],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ExitCode> {
        let mut openness = match arguments {
            [] => Openness::Nothing,
            [option] if option == "--lan" => Openness::PublicListener,
            [option] if option == "--container" => Openness::Everything,
            [option] if option == "--help" || option == "-h" => {
                print!("{HELP}");
                return Err(ExitCode::SUCCESS);
            }
            _ => {
                eprintln!("sandbox: these arguments are not known\n\n{HELP}");
                return Err(ExitCode::from(USAGE));
            }
        };
        let wanted = |name, default, is_open| {
            let ip = if is_open {
                Ipv4Addr::UNSPECIFIED
            } else {
                Ipv4Addr::LOCALHOST
            };
            let Some(value) = variable(name) else {
                return Ok(Wanted::From(SocketAddr::from((ip, default))));
            };
            let Ok(mut addr) = value.parse::<SocketAddr>() else {
                eprintln!(
                    "sandbox: {name} must be an IP address and a port, such as 127.0.0.1:3000"
                );
                return Err(ExitCode::from(USAGE));
            };
            if is_open {
                addr.set_ip(IpAddr::V4(ip));
            }
            Ok(Wanted::Exactly(addr))
        };
        let public = wanted("LISTEN_ADDR", 3000, openness != Openness::Nothing)?;
        let page = wanted("PAGE_ADDR", 3001, openness == Openness::Everything)?;
        let internal = wanted("INTERNAL_ADDR", 9090, openness == Openness::Everything)?;
        // Such an address without the option has the same effect as with it.
        if openness == Openness::Nothing && !public.addr().ip().is_loopback() {
            openness = Openness::PublicListener;
        }
        Ok(Self {
            public,
            page,
            internal,
            openness,
        })
    }
}
