//! Links over Unix sockets. Both ends look at the other's user: the same user needs no token.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use convoke_core::Peer;
use tokio::net::{UnixListener, UnixStream};

use super::{Listener, Stream};

/// Connects, and tells whether the hub on the other end belongs to this user.
pub(crate) async fn connect(path: &Path) -> io::Result<(Stream, bool)> {
    let stream = UnixStream::connect(path).await?;
    let trusted = is_own(&stream);
    Ok((Stream::Unix(stream), trusted))
}

/// Listens, with mode 0600. A socket file that nobody listens on any more is replaced.
pub(crate) async fn listen(path: &Path) -> io::Result<Listener> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else than a socket"));
        }
        match UnixStream::connect(path).await {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another hub listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(Listener::Unix(listener))
}

pub(super) async fn accept(listener: &UnixListener) -> io::Result<(Stream, Peer, Option<IpAddr>)> {
    let (stream, _) = listener.accept().await?;
    let peer = if is_own(&stream) { Peer::Owner } else { Peer::Stranger };
    Ok((Stream::Unix(stream), peer, None))
}

fn is_own(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|credentials| credentials.uid() == rustix::process::geteuid().as_raw())
}
