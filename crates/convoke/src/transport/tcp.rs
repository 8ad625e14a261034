//! Links over TCP.

use std::io;

use convoke_core::Peer;
use tokio::net::{TcpListener, TcpStream, lookup_host};

use super::{Listener, Stream};

/// Connects to the first address of `host` that answers; the name is looked up now.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<Stream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Batching is done above; Nagle's would only delay.
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

/// Listens on loopback. Anything else needs TLS, which does not exist yet.
pub(crate) async fn listen(host: &str, port: u16) -> io::Result<(Listener, std::net::SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        if !address.ip().is_loopback() {
            let text = format!("{} is not a loopback address, and without TLS a hub listens on no other", address.ip());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr()?;
                return Ok((Listener::Tcp(listener), address));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

pub(super) async fn accept(listener: &TcpListener) -> io::Result<(Stream, Peer)> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((Stream::Tcp(stream), Peer::Stranger))
}
