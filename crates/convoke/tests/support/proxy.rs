//! A relay between nodes and a hub that a story can cut, close and let stand still.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// What the sockets of the relay hold, in bytes: little, so that a reader that stands still is soon felt.
const SOCKET_BYTES: u32 = 64 << 10;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Control {
    /// Links of an earlier generation are cut.
    generation: u64,
    /// Nothing is passed on towards the node.
    stalled: bool,
    /// Who dials is turned away.
    closed: bool,
}

/// Runs on a thread of its own until it is dropped.
pub struct Proxy {
    pub address: String,
    control: watch::Sender<Control>,
}

impl Proxy {
    /// A relay to a hub at `tcp://…` or `tls://…`.
    pub async fn new(hub: &str) -> Proxy {
        let (scheme, hub) = hub.split_once("://").unwrap();
        let (scheme, hub): (String, SocketAddr) = (scheme.to_owned(), hub.parse().unwrap());
        let (control, controlled) = watch::channel(Control::default());
        let (started, address) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let listener = socket.listen(64).unwrap();
                started.send(format!("{scheme}://{}", listener.local_addr().unwrap())).unwrap();
                let mut dropped = controlled.clone();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (node, _) = accepted.unwrap();
                            if !controlled.borrow().closed {
                                tokio::spawn(relay(node, hub, controlled.clone()));
                            }
                        }
                        gone = dropped.changed() => if gone.is_err() { return },
                    }
                }
            });
        });
        Proxy { address: address.await.unwrap(), control }
    }

    /// Cuts all links; what was on its way is lost. Whoever dials again gets through.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.generation += 1);
    }

    /// Cuts all links and lets nobody through any more.
    pub fn close(&self) {
        self.control.send_modify(|control| {
            control.generation += 1;
            control.closed = true;
        });
    }

    /// Lets whoever dials through again.
    pub fn open(&self) {
        self.control.send_modify(|control| control.closed = false);
    }

    /// Passes on nothing more towards the nodes.
    pub fn stall(&self) {
        self.control.send_modify(|control| control.stalled = true);
    }

    /// Passes on again what comes.
    pub fn flow(&self) {
        self.control.send_modify(|control| control.stalled = false);
    }
}

async fn relay(node: TcpStream, hub: SocketAddr, controlled: watch::Receiver<Control>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
    // A hub that is not there is told by ending the link.
    let Ok(hub) = socket.connect(hub).await else { return };
    let _ = (node.set_nodelay(true), hub.set_nodelay(true));
    let ((from_node, to_node), (from_hub, to_hub)) = (node.into_split(), hub.into_split());
    let there = tokio::spawn(copy(from_node, to_hub, controlled.clone(), false));
    let _ = copy(from_hub, to_node, controlled, true).await;
    let _ = there.await;
}

/// Passes on one direction until it ends or is cut.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut controlled: watch::Receiver<Control>,
    may_stall: bool,
) -> io::Result<()> {
    let generation = controlled.borrow().generation;
    let mut cut = controlled.clone();
    let pass_on = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let flowing = controlled.wait_for(|control| !(may_stall && control.stalled)).await.map(drop);
            flowing.map_err(io::Error::other)?;
            let len = from.read(&mut buffer).await?;
            if len == 0 {
                return to.shutdown().await;
            }
            // It may have been told while nothing came.
            let flowing = controlled.wait_for(|control| !(may_stall && control.stalled)).await.map(drop);
            flowing.map_err(io::Error::other)?;
            to.write_all(&buffer[..len]).await?;
        }
    };
    tokio::select! {
        ended = pass_on => ended,
        _ = cut.wait_for(|control| control.generation != generation) => Ok(()),
    }
}
