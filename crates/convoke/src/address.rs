//! Addresses: which transport, and where.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// The port of a hub that is not told otherwise.
pub(crate) const PORT: u16 = 7117;

/// Where a hub listens or is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `tcp://HOST:PORT`, or just `HOST:PORT`. A name is looked up anew for every link.
    Tcp {
        /// A name, an IPv4 or an IPv6 address (without brackets).
        host: String,
        /// The port; 7117 if none is given, any free one for a hub that listens on 0.
        port: u16,
    },
    /// `tls://HOST:PORT`: the same, encrypted, and with a certificate that says that the hub is the one of this host. A hub
    /// that listens there takes no other links.
    Tls {
        /// A name, an IPv4 or an IPv6 address (without brackets).
        host: String,
        /// As for TCP.
        port: u16,
    },
    /// `unix:///path`: a Unix socket.
    Unix(PathBuf),
    /// `mem://NAME`: a hub in this process.
    Mem(String),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] says what is wrong and what would be right. A password in the address is not repeated.
    pub fn parse(text: &str) -> Result<Address, Error> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let bad = |why: &str| {
            // Whatever stands before an @ may be a secret.
            let shown = text.rsplit_once('@').map_or(text, |(_, after)| after).escape_debug().to_string();
            Err(Error::Configuration(format!("`{shown}` is not an address: {why}")))
        };
        match scheme {
            "tcp" | "tls" => {
                if rest.contains('@') {
                    return bad("a user and a password have no place in it; give a token file instead");
                }
                let (host, port) = match rest.strip_prefix('[') {
                    Some(rest) => match rest.split_once(']') {
                        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
                        _ => return bad("an IPv6 address stands in brackets, as in `[::1]:7117`"),
                    },
                    None => match rest.rsplit_once(':') {
                        Some((host, _)) if host.contains(':') => {
                            return bad("an IPv6 address stands in brackets, as in `[::1]:7117`");
                        }
                        Some((host, _)) => (host, &rest[host.len()..]),
                        None => (rest, ""),
                    },
                };
                let port = match port.strip_prefix(':') {
                    None if port.is_empty() => PORT,
                    Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() => {
                        match digits.parse() {
                            Ok(port) => port,
                            Err(_) => return bad("a port is a number from 0 to 65535"),
                        }
                    }
                    _ => return bad("a port is a number from 0 to 65535, as in `127.0.0.1:7117`"),
                };
                let odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"/?#\\".contains(&byte);
                if host.is_empty() || host.len() > 253 || host.bytes().any(odd) {
                    return bad("it names no host; `127.0.0.1:7117` would be one");
                }
                let host = host.to_owned();
                Ok(if scheme == "tls" { Address::Tls { host, port } } else { Address::Tcp { host, port } })
            }
            "unix" if rest.starts_with('/') && !rest.contains('\0') => Ok(Address::Unix(rest.into())),
            "unix" => bad("a Unix socket has an absolute path, as in `unix:///run/convoke.sock`"),
            "mem" if cfg!(not(feature = "hub")) => {
                bad("no hub is in this program, which was built without the feature `hub`")
            }
            "mem" if !rest.is_empty() && rest.len() <= 256 => Ok(Address::Mem(rest.to_owned())),
            "mem" => bad("a hub in memory has a name, as in `mem://test`"),
            _ => bad("it begins with `tcp://`, `tls://`, `unix://` or `mem://`, or is just `HOST:PORT`"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        Address::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Address::Tls { host, port } if host.contains(':') => write!(f, "tls://[{host}]:{port}"),
            Address::Tls { host, port } => write!(f, "tls://{host}:{port}"),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Mem(name) => write!(f, "mem://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, shown) in [
            ("127.0.0.1:7117", "tcp://127.0.0.1:7117"),
            ("localhost", "tcp://localhost:7117"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
            ("[::1]", "tcp://[::1]:7117"),
            ("tls://press-hall", "tls://press-hall:7117"),
            ("tls://[::1]:80", "tls://[::1]:80"),
            ("unix:///run/hub.sock", "unix:///run/hub.sock"),
            ("mem://a", "mem://a"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).unwrap(), address);
        }
    }

    #[test]
    fn a_bad_address_says_what_would_be_right() {
        for (text, says) in [
            ("", "names no host"),
            (":7117", "names no host"),
            ("a:b", "a port is a number"),
            ("a:65536", "a port is a number"),
            ("a:", "a port is a number"),
            ("::1", "stands in brackets"),
            ("[::1", "stands in brackets"),
            ("ftp://a", "begins with"),
            ("unix://relative", "absolute path"),
            ("mem://", "has a name"),
            ("tls://:1", "names no host"),
            ("a b:1", "names no host"),
            ("http://a/b", "begins with"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = Address::parse("tcp://ann:sesame@host:1").unwrap_err().to_string();
        assert!(error.contains("token file") && !error.contains("sesame"), "{error}");
    }
}
