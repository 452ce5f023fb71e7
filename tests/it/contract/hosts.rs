//! Several hosts of WeChat's: the next is tried only if the request certainly was not sent to the first.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::fake_wechat::{self, FakeWechat};
use crate::support::app::TestApp;
use crate::support::ports::nobody;

#[tokio::test]
async fn every_login_succeeds_at_the_second_host_when_the_first_cannot_be_reached() {
    let wechat = FakeWechat::start().await;
    let not_tls = wechat.base().replace("http://", "https://");
    let refusing = format!("http://{}", nobody());
    for first in [refusing, "http://name..invalid".to_owned(), not_tls] {
        let bases = format!("{first},{}", wechat.base());
        let app = TestApp::with(&[("WECHAT_API_BASE", &bases)]).await;
        for login in 0..5 {
            let code = format!("user-{}.{login}", first.len());
            app.client.login(&code).await.assert_status(200);
            assert_eq!(wechat.requests_for(&code), 1);
        }
    }
}

#[tokio::test]
async fn a_host_that_answers_anything_has_the_last_word() {
    let [first, second] = [FakeWechat::start().await, FakeWechat::start().await];
    let bases = format!("{},{}", first.base(), second.base());
    let settings = [
        ("WECHAT_API_BASE", bases.as_str()),
        ("WECHAT_TIMEOUT", "300ms"),
    ];
    let app = TestApp::with(&settings).await;
    for code in ["error-40029", "html-502", "garbage", "hang", "busy-9"] {
        app.client.login(code).await;
        assert_eq!(second.requests_for(code), 0, "{code}");
    }
}

#[tokio::test]
async fn a_code_that_reached_nobody_works_once_somebody_is_back() {
    let (first, second) = (nobody(), nobody());
    let bases = format!("http://{first},http://{second}");
    let app = TestApp::with(&[("WECHAT_API_BASE", &bases)]).await;
    let unreachable = app.client.login("user-alice").await;
    unreachable.assert_problem(502, "upstream_unreachable", "retry_later");

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(second).unwrap();
    let listener = socket.listen(16).unwrap();
    tokio::spawn(fake_wechat::serve(listener, app.wechat.router()));
    app.client.login("user-alice").await.assert_status(200);
}

#[tokio::test]
async fn a_connection_that_wechat_closed_while_idle_costs_no_login() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (end, mut ends) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let body = r#"{"openid":"o1","session_key":"HyVFkGl5F5OQWJZZaNzBBg=="}"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
            // Closes the connection, although the response promised to keep it.
            drop(stream);
            end.send(()).unwrap();
        }
    });
    let app = TestApp::with(&[("WECHAT_API_BASE", &base)]).await;
    for login in 0..20 {
        app.client
            .login(&format!("user-{login}"))
            .await
            .assert_status(200);
        ends.recv().await.unwrap();
        // The other end has closed; our side must have seen it before it is idle.
        app.client.get("/healthz").await.assert_status(200);
    }
}
