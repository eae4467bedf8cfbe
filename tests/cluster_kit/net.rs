//! A host of its own for a program: a network namespace whose cable can be pulled, and a way to the services through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A network namespace at the end of a virtual cable. Removed when dropped.
pub struct Host {
    name: String,
    outside: Ipv4Addr,
    inside: Ipv4Addr,
}

fn ip(args: &str) -> Result<(), String> {
    let out = Command::new("ip").args(args.split(' ')).output().map_err(|e| format!("ip: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("ip {args}: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

impl Host {
    /// Makes it; an error says why this machine cannot.
    pub fn new(number: u8) -> Result<Host, String> {
        let tag = std::process::id() % 100_000;
        let (name, near, far) = (format!("am-{tag}-{number}"), format!("amn{tag}{number}"), format!("amf{tag}{number}"));
        let (outside, inside) = (Ipv4Addr::new(10, 203, number, 1), Ipv4Addr::new(10, 203, number, 2));
        ip(&format!("netns add {name}"))?;
        let host = Host { name: name.clone(), outside, inside };
        ip(&format!("link add {near} type veth peer name {far}"))?;
        ip(&format!("link set {far} netns {name}"))?;
        ip(&format!("addr add {outside}/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("-n {name} addr add {inside}/30 dev {far}"))?;
        ip(&format!("-n {name} link set {far} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(host)
    }

    /// What to put before a command to run it there.
    pub fn within(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// Pulls the cable, or plugs it in: packets are lost in silence, as in a real cut.
    pub fn connect(&self, up: bool) {
        let far = self.name.replacen("am-", "amf", 1).replace('-', "");
        ip(&format!("-n {} link set {far} {}", self.name, if up { "up" } else { "down" })).unwrap();
    }

    /// An address on this side of the cable that leads to a service on the loopback address.
    pub async fn lead(&self, to: SocketAddr) -> SocketAddr {
        pass(TcpListener::bind((self.outside, 0)).await.unwrap(), to)
    }

    /// A port on this machine that leads to a port of the host, which a program of it listens on at `0.0.0.0`.
    pub async fn inward(&self, port: u16) -> u16 {
        pass(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), SocketAddr::from((self.inside, port))).port()
    }
}

/// Passes every connection on.
fn pass(listener: TcpListener, to: SocketAddr) -> SocketAddr {
    let here = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut a, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut b) = TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut a, &mut b).await;
                }
            });
        }
    });
    here
}

/// A way to a service that can be shut: what is under way stands still, and new connections are not answered.
pub struct Door {
    pub address: SocketAddr,
    shut: watch::Sender<bool>,
}

impl Door {
    pub async fn to(service: SocketAddr) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shut = watch::Sender::new(false);
        let state = shut.subscribe();
        tokio::spawn(async move {
            while let Ok((a, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    let _ = state.wait_for(|s| !*s).await;
                    let Ok(b) = TcpStream::connect(service).await else { return };
                    let ((ar, aw), (br, bw)) = (a.into_split(), b.into_split());
                    tokio::join!(carry(ar, bw, state.clone()), carry(br, aw, state));
                });
            }
        });
        Door { address, shut }
    }

    pub fn shut(&self, yes: bool) {
        self.shut.send_replace(yes);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n) = from.read(&mut buffer).await {
        let _ = state.wait_for(|s| !*s).await;
        if n == 0 || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}
