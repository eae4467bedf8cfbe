//! Accepts connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use am_core::{CancelToken, Clock, Code, Error, Result};
use futures_core::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::link::{Io, Link, Links};

/// Connections that are accepted and not yet served.
const WAITING: usize = 64;

/// Binds a port.
pub(crate) async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let fail = |e: io::Error| {
        let next = if e.kind() == io::ErrorKind::AddrInUse {
            "; another program uses this port, choose another one or 0 for a free one"
        } else {
            ""
        };
        Error::new(Code::IO, format!("{addr}: {e}{next}")).op("server.bind").source(e)
    };
    let listener = TcpListener::bind(addr).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

/// Accepted connections, as tonic wants them.
pub(crate) struct Incoming(mpsc::Receiver<io::Result<Link>>);

impl Stream for Incoming {
    type Item = io::Result<Link>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// What accepting needs.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) links: Arc<Links>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) handshake: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stopping: CancelToken,
}

impl Door {
    /// Accepts until the server stops.
    pub(crate) fn open(self) -> Incoming {
        let (tx, rx) = mpsc::channel(WAITING);
        tokio::spawn(self.accept(tx));
        Incoming(rx)
    }

    async fn accept(self, tx: mpsc::Sender<io::Result<Link>>) {
        let door = Arc::new(self);
        loop {
            let next = async {
                let permit = door.links.room().await?;
                Some((permit, door.listener.accept().await))
            };
            let (permit, stream) = tokio::select! {
                () = door.stopping.cancelled() => return,
                next = next => match next {
                    Some((permit, Ok((stream, _)))) => (permit, stream),
                    // Out of file descriptors, or the peer left between the two: there will be others.
                    Some((_, Err(e))) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        door.clock.sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    None => return,
                },
            };
            let (door, tx) = (door.clone(), tx.clone());
            if door.tls.is_none() {
                let io = door.plain(stream);
                if tx.send(Ok(door.links.link(io, permit))).await.is_err() {
                    return;
                }
                continue;
            }
            tokio::spawn(async move {
                match door.handshake(stream).await {
                    Ok(io) => drop(tx.send(Ok(door.links.link(io, permit))).await),
                    Err(e) => tracing::debug!(error = %e, "a TLS handshake failed"),
                }
            });
        }
    }

    fn plain(&self, stream: TcpStream) -> Io {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "TCP_NODELAY could not be set");
        }
        Io::Plain(stream)
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<Io> {
        let Some(tls) = &self.tls else { return Ok(self.plain(stream)) };
        stream.set_nodelay(true)?;
        tokio::select! {
            done = tls.accept(stream) => done.map(|s| Io::Tls(Box::new(s))),
            () = self.clock.sleep(self.handshake) => Err(io::ErrorKind::TimedOut.into()),
            () = self.stopping.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}
