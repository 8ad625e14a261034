//! Tokens: how a program shows that it may join, without sending the secret.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use convoke_core::{Name, TokenKey};

use crate::error::Error;
use crate::files::for_its_owner;

/// The name of the token that is made with a hub, and of its owner.
pub(crate) const OWNER: &str = "admin";

/// Bytes of randomness in a token that we make.
const SECRET_BYTES: usize = 32;

/// A token file is one short line.
const FILE_BYTES_MAX: u64 = 4096;

/// A name and a secret. The secret is never sent, never printed, and never leaves this value but into a file.
#[derive(Clone)]
pub struct Token {
    name: Name,
    secret: String,
}

impl Token {
    /// Reads `NAME:SECRET`.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if it is not of that form; what was given is not repeated.
    pub fn parse(text: &str) -> Result<Token, Error> {
        let bad = || {
            Error::Configuration(
                "a token is a name, a colon and a secret of at least 16 characters, on one line".into(),
            )
        };
        let (name, secret) = text.trim_end_matches(['\r', '\n']).rsplit_once(':').ok_or_else(bad)?;
        let name = Name::parse(name).map_err(|_| bad())?;
        if secret.len() < 16 || secret.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err(bad());
        }
        Ok(Token { name, secret: secret.to_owned() })
    }

    /// Reads a token file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read; [`Error::Configuration`] if it is not a token, or if others than its owner can
    /// read it.
    pub fn read(path: impl AsRef<Path>) -> Result<Token, Error> {
        let path = path.as_ref();
        let what = || format!("token file `{}`", path.display());
        let metadata = fs::metadata(path).map_err(|error| Error::io(what(), error))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(Error::Configuration(format!("{} is not a token file", what())));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let text = format!("{} can be read by others (mode {mode:o}); make it 600", what());
                return Err(Error::Configuration(text));
            }
        }
        let text = fs::read_to_string(path).map_err(|error| Error::io(what(), error))?;
        Token::parse(&text).map_err(|error| Error::Configuration(format!("{}: {error}", what())))
    }

    /// A new token of this name.
    pub(crate) fn generate(name: Name) -> Result<Token, Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Error::io("random bytes for a token", error.into()))?;
        Ok(Token { name, secret: bytes.iter().map(|byte| format!("{byte:02x}")).collect() })
    }

    /// The name that the hub knows it by.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn key(&self) -> TokenKey {
        TokenKey::derive(self.secret.as_bytes())
    }

    /// `NAME:SECRET`, as [`read`](Token::read) and [`parse`](Token::parse) take it. Whoever has it may join: it belongs into a
    /// file that only its owner can read, and into no log.
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.name, self.secret)
    }

    /// Writes it into a new file that only its owner can read.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written, or is there already: what is in it is not overwritten.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let at = |error| Error::io(format!("token file `{}`", path.display()), error);
        let mut file = for_its_owner().create_new(true).open(path).map_err(at)?;
        let written = file.write_all(format!("{}\n", self.reveal()).as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| {
            let _ = fs::remove_file(path);
            at(error)
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}:…)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let token = Token::parse("admin:0123456789abcdef0").unwrap();
        assert_eq!(format!("{token:?}"), "Token(admin:…)");
        assert_eq!(token.reveal(), "admin:0123456789abcdef0");
    }

    #[test]
    fn a_token_is_saved_for_its_owner_alone_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cam.token");
        let token = Token::generate(Name::parse("cam").unwrap()).unwrap();
        token.save(&path).unwrap();
        assert_eq!(Token::read(&path).unwrap().reveal(), token.reveal());
        assert!(matches!(token.save(&path), Err(Error::Io { .. })));
        assert_eq!(Token::read(&path).unwrap().reveal(), token.reveal());
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        for text in ["", "admin", "admin:", "admin:short", "a#b:0123456789abcdef0", "admin:0123456789 abcdef0"] {
            let error = Token::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("a token is a name") && !error.contains("abcdef"), "{error}");
        }
    }
}
