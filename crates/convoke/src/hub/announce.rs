//! The file by which a user's programs find what they need for a hub's address: its Unix socket and its token. Only this
//! user can read it. It is written when the hub listens and taken away when it stops; one that a killed hub left behind
//! does no harm, since the hub must prove that it knows the token too.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder;
use crate::token::Token;

/// What is known about the hub at an address.
#[derive(Debug)]
pub(crate) struct Announced {
    /// Its Unix socket, if it listens on one.
    pub(crate) unix: Option<PathBuf>,
    pub(crate) token: Token,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    unix: Option<PathBuf>,
    token: String,
}

/// The longest such file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Where the files are: `$XDG_RUNTIME_DIR/convoke`, else `convoke/run` in the user's state folder.
pub(crate) fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(runtime) = set("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()) {
        return Some(runtime.join("convoke"));
    }
    let state =
        set("XDG_STATE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("convoke/run"))
}

/// A file that is taken away when this is dropped.
#[derive(Debug)]
pub(super) struct Announcement(PathBuf, String);

/// Tells this user's programs about the hub at `address`. A hub also works without: then its token must be given.
pub(super) fn announce(address: SocketAddr, unix: Option<&Path>, token: &Token) -> Option<Announcement> {
    let folder = folder()?;
    let path = file(&folder, address);
    let stored = Stored { unix: unix.map(Path::to_owned), token: token.reveal() };
    let text = serde_json::to_string(&stored).ok()?;
    let written = folder::make(&folder).and_then(|()| folder::replace(&path, text.as_bytes()));
    match written {
        Ok(()) => Some(Announcement(path, text)),
        Err(error) => {
            tracing::warn!("`{}` cannot be written, so programs need a token file: {error}", path.display());
            None
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Another hub may have taken the address over, and written its own.
        if fs::read_to_string(&self.0).is_ok_and(|text| text == self.1) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// What this user's hub at `address` has announced.
pub(crate) fn find(address: SocketAddr) -> Option<Announced> {
    if !address.ip().is_loopback() {
        return None;
    }
    let path = file(&folder()?, address);
    let metadata = fs::symlink_metadata(&path).ok()?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
            tracing::warn!("`{}` is not used: others can write or read it", path.display());
            return None;
        }
    }
    let stored: Stored = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
    Some(Announced { unix: stored.unix, token: Token::parse(&stored.token).ok()? })
}

fn file(folder: &Path, address: SocketAddr) -> PathBuf {
    // A colon in a file's name is trouble on some systems.
    folder.join(format!("{}.json", address.to_string().replace(':', "-")))
}
