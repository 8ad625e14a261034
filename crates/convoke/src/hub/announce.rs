//! The file by which a hub tells this user's programs what they need for its address: its Unix socket and its token. It is
//! written when the hub listens and taken away when it stops; one that a killed hub left behind does no harm, since the
//! hub must prove that it knows the token too.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::folder;
use crate::announced::{self, Stored, file};
use crate::files::make_folder;
use crate::token::Token;

/// A file that is taken away when this is dropped.
#[derive(Debug)]
pub(super) struct Announcement(PathBuf, String);

/// Tells this user's programs about the hub at `address`. A hub also works without: then its token must be given.
pub(super) fn announce(address: SocketAddr, unix: Option<&Path>, token: &Token) -> Option<Announcement> {
    let folder = announced::folder()?;
    let path = file(&folder, address);
    let stored = Stored { unix: unix.map(Path::to_owned), token: token.reveal() };
    let text = serde_json::to_string(&stored).ok()?;
    let written = make_folder(&folder).and_then(|()| folder::replace(&path, text.as_bytes()));
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
