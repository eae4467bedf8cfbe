//! A connection that a test cuts and restores.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Listens on a port of its own and passes everything on, while it is whole.
pub struct Proxy {
    pub url: String,
    whole: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub async fn new(to: &str) -> Proxy {
        let to = to.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let whole = Arc::new(watch::Sender::new(true));
        let state = whole.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (to, mut state) = (to.clone(), state.subscribe());
                tokio::spawn(async move {
                    if !*state.borrow_and_update() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(&to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Proxy { url, whole }
    }

    /// Ends every connection and takes no new one.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn restore(&self) {
        self.whole.send_replace(true);
    }
}
