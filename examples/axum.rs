//! An app of its own with wxlogin mounted: `cargo run --example axum`
//!
//! It needs the settings of wxlogin (see `.env.example`) in the environment or in `.env`. Against the
//! sandbox, which prints them:
//!
//! ```text
//! curl 'http://127.0.0.1:8080/onLogin?code=user-alice'
//! curl -H 'Authorization: Bearer TOKEN' -d 'one tea' http://127.0.0.1:8080/api/orders
//! curl -H 'Authorization: Bearer TOKEN' http://127.0.0.1:8080/api/orders
//! ```

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;
use wxlogin::{SignedIn, WxLogin};

/// Each user's orders, by openid.
type Orders = Arc<Mutex<HashMap<String, Vec<String>>>>;

#[derive(Clone)]
struct AppState {
    wxlogin: WxLogin,
    orders: Orders,
}

impl FromRef<AppState> for WxLogin {
    fn from_ref(state: &AppState) -> Self {
        state.wxlogin.clone()
    }
}

impl FromRef<AppState> for Orders {
    fn from_ref(state: &AppState) -> Self {
        state.orders.clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let wxlogin = WxLogin::from_env()?;
    let app = Router::new()
        .route("/", get(greet))
        .route("/api/orders", get(list).post(add))
        .merge(wxlogin.routes())
        .with_state(AppState {
            wxlogin: wxlogin.clone(),
            orders: Orders::default(),
        });
    let addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut term = signal(SignalKind::terminate())?;
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = ctrl_c() => {}
        }
        let _ = stopping.send(());
    };
    // axum itself would wait for a client that never finishes its request.
    let limit = async move {
        let _ = stopped.await;
        sleep(Duration::from_secs(5)).await;
    };
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stop) => served?,
        () = limit => {}
    }
    // Exchanges of clients that have gone are finished, and the session store is closed.
    wxlogin.close().await;
    Ok(())
}

/// For everybody: a login is optional here.
async fn greet(user: Option<SignedIn>) -> String {
    match user {
        Some(SignedIn(user)) => format!("Hello, {}!\n", user.openid),
        None => "Hello! Log in at /onLogin?code=CODE.\n".to_owned(),
    }
}

/// For users who are logged in: all others are answered 401 before this runs.
async fn list(SignedIn(user): SignedIn, State(orders): State<Orders>) -> Json<Vec<String>> {
    let orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    Json(orders.get(&user.openid).cloned().unwrap_or_default())
}

async fn add(SignedIn(user): SignedIn, State(orders): State<Orders>, order: String) {
    let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    orders.entry(user.openid).or_default().push(order);
}
