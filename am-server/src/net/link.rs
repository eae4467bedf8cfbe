//! One open connection, which can be cut from outside.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use am_core::{CancelToken, Cancelled};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// The open connections of a port, at most so many.
pub(crate) struct Links {
    open: Mutex<Open>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Open {
    next: u64,
    cuts: HashMap<u64, CancelToken>,
}

impl Links {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Links { open: Mutex::default(), room: Arc::new(Semaphore::new(most)) })
    }

    /// Waits until there is room for another one.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_owned().await.ok()
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().cuts.len()
    }

    /// Cuts all of them.
    pub(crate) fn cut_all(&self) {
        let cuts: Vec<CancelToken> = self.open.lock().cuts.values().cloned().collect();
        cuts.iter().for_each(CancelToken::cancel);
    }

    pub(crate) fn link(self: &Arc<Self>, io: Io, permit: OwnedSemaphorePermit) -> Link {
        let cut = CancelToken::new();
        let id = {
            let mut o = self.open.lock();
            o.next += 1;
            let id = o.next;
            o.cuts.insert(id, cut.clone());
            id
        };
        Link { io, watch: cut.cancelled(), cut, id, links: self.clone(), _permit: permit }
    }
}

/// The bytes below a connection.
pub(crate) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open connection.
pub(crate) struct Link {
    io: Io,
    cut: CancelToken,
    watch: Cancelled,
    id: u64,
    links: Arc<Links>,
    _permit: OwnedSemaphorePermit,
}

/// Cuts the connection that a call came over.
#[derive(Clone)]
pub(crate) struct Cutter(CancelToken);

impl Cutter {
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }

    /// Ready once the connection is closed.
    pub(crate) async fn closed(&self) {
        self.0.cancelled().await;
    }
}

impl Connected for Link {
    type ConnectInfo = Cutter;

    fn connect_info(&self) -> Cutter {
        Cutter(self.cut.clone())
    }
}

impl Link {
    /// Cuts it later, from elsewhere.
    pub(crate) fn cutter(&self) -> Cutter {
        Cutter(self.cut.clone())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut.cancel();
        self.links.open.lock().cuts.remove(&self.id);
    }
}

macro_rules! on_io {
    ($self:ident, $io:ident => $call:expr) => {
        match &mut $self.io {
            Io::Plain(s) => {
                let $io = Pin::new(s);
                $call
            }
            Io::Tls(s) => {
                let $io = Pin::new(s.as_mut());
                $call
            }
        }
    };
}

impl Link {
    /// Turns waiting into an error once the connection is cut.
    fn unless_cut<T>(&mut self, done: Poll<Result<T>>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        match done {
            Poll::Pending if Pin::new(&mut self.watch).poll(cx).is_ready() => Poll::Ready(Err(cut())),
            Poll::Ready(_) if self.cut.is_cancelled() => Poll::Ready(Err(cut())),
            other => other,
        }
    }
}

fn cut() -> Error {
    Error::new(ErrorKind::ConnectionAborted, "cut by the server")
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let done = on_io!(this, io => io.poll_read(cx, buf));
        this.unless_cut(done, cx)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let this = &mut *self;
        let done = on_io!(this, io => io.poll_write(cx, buf));
        this.unless_cut(done, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let this = &mut *self;
        let done = on_io!(this, io => io.poll_write_vectored(cx, bufs));
        this.unless_cut(done, cx)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(s) => s.is_write_vectored(),
            Io::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let done = on_io!(this, io => io.poll_flush(cx));
        this.unless_cut(done, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let done = on_io!(this, io => io.poll_shutdown(cx));
        this.unless_cut(done, cx)
    }
}
