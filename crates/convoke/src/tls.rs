//! TLS: who vouches for a hub, and what a program shows to say who it is. The hub's side is in [`hub`], the node's in
//! [`node`]; both carry their links as [`carry`] says, beside the threads that they belong to.

mod carry;
#[cfg(feature = "hub")]
pub(crate) mod hub;
pub(crate) mod node;
#[cfg(feature = "hub")]
mod own;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use convoke_core::Name;

#[cfg(feature = "hub")]
pub use own::OwnAuthority;
#[cfg(feature = "hub")]
pub(crate) use own::default_options;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

use crate::error::Error;
use crate::token::OWNER;

/// The longest file with certificates or a key that is read, in bytes: a bundle of all public authorities is a quarter.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a hub shows on its links over TLS. The files are read when the hub starts, and at
/// [`Hub::reload_tls`](crate::Hub::reload_tls).
#[cfg(feature = "hub")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file with its certificate, and behind it those of the authorities between it and the one that nodes know.
    pub certificate: std::path::PathBuf,
    /// A PEM file with the certificate's key, which only its owner may be able to read.
    pub key: std::path::PathBuf,
    /// A PEM file with the authorities whose certificates let programs in without a token; `None` for no such programs.
    pub client_authority: Option<std::path::PathBuf>,
}

/// Whose certificates are believed: one authority or several.
#[derive(Clone)]
pub struct Authority(Arc<RootCertStore>);

impl Authority {
    /// Reads certificates of authorities, as PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if there is none in it, or one that is not a certificate.
    pub fn parse(pem: &str) -> Result<Authority, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let added = certificate.map_err(|error| error.to_string());
            added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string())).map_err(
                |error| Error::Configuration(format!("a certificate of an authority cannot be read: {error}")),
            )?;
        }
        if roots.is_empty() {
            return Err(Error::Configuration("there is no certificate of an authority in it".into()));
        }
        Ok(Authority(Arc::new(roots)))
    }

    /// Reads a PEM file, such as the `authority.pem` that `convoke tls init` has made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read; [`Error::Configuration`] as for [`parse`](Authority::parse).
    pub fn read(path: impl AsRef<Path>) -> Result<Authority, Error> {
        let what = format!("authority `{}`", path.as_ref().display());
        let pem = read(path.as_ref(), &what, Secret::No)?;
        Authority::parse(&pem).map_err(|error| Error::Configuration(format!("{what}: {error}")))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.0.len())
    }
}

/// A certificate with its key: what a program shows to say who it is. The key is never sent and never printed.
#[derive(Clone)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Certificate {
    /// Reads a certificate (and, behind it, those of the authorities between it and the one that the other side knows) and its
    /// key, both as PEM. What was given is not repeated.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if one of the two is not there, or cannot be read.
    pub fn parse(certificate: &str, key: &str) -> Result<Certificate, Error> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|error| Error::Configuration(format!("the certificate cannot be read: {error}")))?;
        if chain.is_empty() {
            return Err(Error::Configuration("there is no certificate in it".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            let why = match key.contains("ENCRYPTED") {
                true => "the key is encrypted; take the passphrase off, and make the file readable for its owner only",
                false => "there is no key in it that can be read",
            };
            Error::Configuration(why.into())
        })?;
        Ok(Certificate { chain, key: Arc::new(key) })
    }

    /// Reads the two PEM files, such as those that `convoke tls issue` has made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if one cannot be read; [`Error::Configuration`] as for [`parse`](Certificate::parse), and if others than
    /// its owner can read the key.
    pub fn read(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Certificate, Error> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let what = format!("certificate `{}`", certificate.display());
        let chain = read(certificate, &what, Secret::No)?;
        let secret = read(key, &format!("key `{}`", key.display()), Secret::Yes)?;
        Certificate::parse(&chain, &secret)
            .map_err(|error| Error::Configuration(format!("{what} with key `{}`: {error}", key.display())))
    }

    /// Whose it is, as a hub understands it that believes it: the name of its first URL `convoke:NAME`, else its first DNS
    /// name that can be a name here.
    pub fn name(&self) -> Option<Name> {
        name_in(self.own())
    }

    fn own(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// Whether a file is for its owner's eyes only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secret {
    No,
    Yes,
}

/// Reads a PEM file.
fn read(path: &Path, what: &str, secret: Secret) -> Result<String, Error> {
    let failed = |error| Error::io(what, error);
    // To open what is no file may wait for ever.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(Error::Configuration(format!("{what} is not a file")));
    }
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Error::Configuration(format!("{what} is longer than any such file: {} bytes", metadata.len())));
    }
    #[cfg(unix)]
    if secret == Secret::Yes {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::Configuration(format!("{what} can be read by others (mode {mode:o}); make it 600")));
        }
    }
    let mut bytes = Vec::new();
    file.by_ref().take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| Error::Configuration(format!("{what} is not PEM")))
}

/// The cryptography of all links.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A day, as people write it.
fn day(seconds: i64) -> String {
    let day = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH).date();
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

/// Whose certificate it is: the name of its first URL `convoke:NAME`, else its first DNS name that is one. A DNS name is
/// no way to become the hub's owner: who signs those may not know what it would mean.
fn name_in(certificate: &[u8]) -> Option<Name> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let url = names.iter().find_map(|name| match name {
        GeneralName::URI(url) => Name::parse_url(url).ok(),
        _ => None,
    });
    let dns = || {
        names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Name::parse(name).ok().filter(|name| name.as_str() != OWNER),
            _ => None,
        })
    };
    url.or_else(dns).filter(|name| !name.is_reserved())
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair, SanType, string::Ia5String};

    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnAuthority::create(folder.path()).unwrap();
        own.certify_hub(&[]).unwrap();
        let path = |name: &str| folder.path().join("tls").join(name);
        let certificate = Certificate::read(path("server.pem"), path("server.key")).unwrap();
        assert_eq!(format!("{certificate:?}"), "Certificate(…)");
        let error = Certificate::read(path("server.key"), path("server.key")).unwrap_err().to_string();
        assert!(error.ends_with("there is no certificate in it"), "{error}");
    }

    #[test]
    fn what_is_not_what_it_should_be_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnAuthority::create(folder.path()).unwrap();
        own.certify_hub(&[]).unwrap();
        let path = |name: &str| folder.path().join("tls").join(name);
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        fs::write(path("encrypted"), encrypted).unwrap();
        fs::write(path("broken"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        fs::write(path("empty"), "").unwrap();
        #[cfg(unix)]
        for name in ["encrypted", "empty"] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        for (file, says) in [
            ("broken", "a certificate of an authority cannot be read"),
            ("empty", "there is no certificate of an authority"),
            ("server.key", "there is no certificate of an authority"),
        ] {
            let error = Authority::read(path(file)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(file), "{error}");
        }
        for (key, says) in [("encrypted", "take the passphrase off"), ("empty", "there is no key in it")] {
            let error = Certificate::read(path("server.pem"), path(key)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(key), "{error}");
        }
        let error = Authority::read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not a file"), "{error}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
            let error = Certificate::read(path("server.pem"), path("server.key")).unwrap_err().to_string();
            assert!(error.ends_with("can be read by others (mode 644); make it 600"), "{error}");
        }
    }

    #[test]
    fn a_day_is_written_as_people_write_it() {
        assert_eq!((day(0), day(1_767_225_600)), ("1970-01-01".to_owned(), "2026-01-01".to_owned()));
    }

    #[test]
    fn a_certificate_says_whose_it_is() {
        let certificate = |names: &[SanType]| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.subject_alt_names = names.to_vec();
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        let ia5 = |text: &str| Ia5String::try_from(text.to_owned()).unwrap();
        let url = |text: &str| SanType::URI(ia5(text));
        let dns = |text: &str| SanType::DnsName(ia5(text));
        for (names, name) in [
            (vec![url("convoke:press/1")], Some("press/1")),
            (vec![dns("press-1.example"), url("https://example"), url("convoke:a%20b")], Some("a b")),
            (vec![dns("press-1.example"), dns("other")], Some("press-1.example")),
            (vec![url("convoke:$hub/a"), dns("press")], None),
            (vec![url("convoke:press/+"), dns("press")], Some("press")),
            (vec![url("convoke:admin")], Some("admin")),
            (vec![dns("admin")], None),
            (vec![dns("admin"), dns("press")], Some("press")),
            (vec![SanType::IpAddress([127, 0, 0, 1].into())], None),
            (vec![], None),
        ] {
            assert_eq!(name_in(&certificate(&names)).as_ref().map(Name::as_str), name, "{names:?}");
        }
        assert_eq!(name_in(&[0x30, 0x80, 1, 2, 3]), None);
    }
}
