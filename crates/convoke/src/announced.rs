//! What hubs of this user have announced on this machine, for programs that join them: a file for each address, with the
//! hub's Unix socket and token, that only this user can read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::token::Token;

/// What is known about the hub at an address.
#[derive(Debug)]
pub(crate) struct Announced {
    /// Its Unix socket, if it listens on one.
    pub(crate) unix: Option<PathBuf>,
    pub(crate) token: Token,
}

/// The same as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) unix: Option<PathBuf>,
    pub(crate) token: String,
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

/// The file for an address.
pub(crate) fn file(folder: &Path, address: SocketAddr) -> PathBuf {
    // A colon in a file's name is trouble on some systems.
    folder.join(format!("{}.json", address.to_string().replace(':', "-")))
}
