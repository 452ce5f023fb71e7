//! Access to the sandbox's page and controls, and the redirect of a browser to the page.

use reqwest::Method;

use crate::support::sandbox_process::{Sandbox, command};

#[tokio::test]
async fn only_the_page_itself_and_programs_may_use_the_controls() {
    let sandbox = Sandbox::start();
    let page = sandbox.page();
    let own = page.addr.to_string();
    let port = page.addr.port();
    let get = async |path: &str, headers: &[(&str, &str)]| {
        page.send(Method::GET, path, headers).await.status.as_u16()
    };
    let localhost = format!("localhost:{port}");
    let origin = format!("http://{own}");
    for headers in [
        &[] as &[(&str, &str)],
        &[("host", &localhost)],
        &[("origin", &origin), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
    ] {
        assert_eq!(get("/sandbox", headers).await, 200, "{headers:?}");
    }
    let rebound = format!("evil.example:{port}");
    for path in ["/", "/live", "/sandbox"] {
        for host in [&rebound, "192.168.0.7", "sandbox", ""] {
            assert_eq!(get(path, &[("host", host)]).await, 403, "{path} {host}");
        }
    }
    for headers in [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "http://127.0.0.1:1")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(get("/sandbox", &headers).await, 403, "{headers:?}");
        let reset = page.send(Method::POST, "/sandbox/reset", &headers).await;
        assert_eq!(reset.status, 403, "{headers:?}");
    }
    // A link on another site may open the page.
    assert_eq!(get("/", &[("sec-fetch-site", "cross-site")]).await, 200);

    // The service and the stand-in, too.
    let internal = sandbox.internal();
    for (client, path) in [
        (&sandbox.public(), "/onLogin?code=user-alice"),
        (&internal, "/metrics"),
        (&page, "/sns/jscode2session"),
    ] {
        for (host, is_taken) in [
            (&*rebound, false),
            ("192.168.0.7", false),
            ("localhost", true),
        ] {
            let answer = client.send(Method::GET, path, &[("host", host)]).await;
            assert_eq!(answer.status != 403, is_taken, "{path} {host}");
        }
    }
    let lan = Sandbox::of(&mut command(&["--lan"]));
    for (client, host, status) in [
        (lan.public(), "192.168.0.7:3000", 401),
        (lan.public(), "my-computer.local:3000", 401),
        (lan.public(), "evil.example", 403),
        (lan.page(), "192.168.0.7:3001", 403),
    ] {
        let answer = client
            .send(Method::GET, "/session", &[("host", host)])
            .await;
        assert_eq!(answer.status, status, "{host}");
    }

    let container = Sandbox::of(&mut command(&["--container"]));
    // Host names of a container.
    for (host, status) in [
        ("sandbox:3001", 200),
        ("192.168.0.7:3001", 200),
        ("evil.example", 403),
    ] {
        let headers = [("host", host)];
        let answer = container.page().send(Method::GET, "/", &headers).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn a_browser_at_the_services_address_is_led_to_the_page_and_nobody_else() {
    let sandbox = Sandbox::start();
    let url = format!("http://{}/", sandbox.public().addr);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = http
        .get(&url)
        .header("accept", "text/html,*/*")
        .send()
        .await
        .unwrap();
    assert_eq!(page.url().port(), Some(sandbox.page().addr.port()));
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(page.contains("<html lang=\"en\">"), "{page}");
    for elsewhere in ["src=", "href=\"http", "url(", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere} in {page}");
    }
    let public = sandbox.public();
    public
        .get("/")
        .await
        .assert_problem(404, "not_found", "fix_request");
    let lan = Sandbox::of(&mut command(&["--lan"]));
    let phone = [("accept", "text/html"), ("host", "192.168.0.7:3000")];
    let phone = lan.public().send(Method::GET, "/", &phone).await;
    phone.assert_problem(404, "not_found", "fix_request");
    let chinese = [("accept-language", "zh-CN,zh;q=0.9")];
    let chinese = sandbox.page().send(Method::GET, "/", &chinese).await.text;
    assert!(chinese.contains("<html lang=\"zh-CN\">") && chinese.contains("在这里登录用户"));
}
