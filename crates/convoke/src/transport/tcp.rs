//! Links over TCP.

use std::io;
use std::net::IpAddr;

use convoke_core::Peer;
use tokio::net::{TcpListener, TcpStream, lookup_host};

use super::{Listener, Stream};

/// Connects to the first address of `host` that answers; the name is looked up now.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        // The system has given it the very port that it dials.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Batching is done above; Nagle's would only delay.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens; with `tls` also elsewhere than on loopback.
pub(crate) async fn listen(host: &str, port: u16, tls: bool) -> io::Result<(Listener, std::net::SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        if !tls && !address.ip().is_loopback() {
            let text = format!(
                "{} is not a loopback address, and without TLS a hub listens on no other; `convoke tls init` makes what is \
                 needed",
                address.ip()
            );
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

pub(super) async fn accept(listener: &TcpListener) -> io::Result<(Stream, Peer, Option<IpAddr>)> {
    let (stream, from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((Stream::Tcp(stream), Peer::Stranger, Some(from.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dialing a port of this machine on which nobody listens, again and again, sooner or later got that very port to
    /// dial from: the node met itself, and held the port that its hub was to come back to.
    #[tokio::test]
    async fn who_dials_does_not_meet_itself() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        // The system gives every other port first, so one of two neighbours is met.
        for port in [free, free ^ 1] {
            for _ in 0..30_000 {
                let Ok(stream) = connect("127.0.0.1", port).await else { continue };
                assert_ne!(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
                // Another program listens there.
                break;
            }
        }
    }
}
