//! A hub's own authority: made once in its folder, it signs the hub's certificate and those of programs.

use std::path::{Path, PathBuf};

use convoke_core::Name;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};
use rustls::pki_types::ServerName;
use sysinfo::System;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;

use super::{Certificate, Secret, TlsOptions, read};
use crate::error::Error;
use crate::hub::folder;

/// The folder within that of the hub.
const FOLDER: &str = "tls";

/// How long an authority is valid: to replace it every node must be visited.
const AUTHORITY_TIME: Duration = Duration::days(3652);

/// How long a certificate is valid: the longest that all programs accept, and it is renewed with one command.
const CERTIFICATE_TIME: Duration = Duration::days(397);

/// Since when a new certificate is valid, before it was made: clocks differ.
const BACKDATED: Duration = Duration::days(1);

/// A hub's own authority, in the folder `tls` of the hub's folder: `authority.pem`, which every node gets a copy of;
/// `authority.key`, which nobody gets; `server.pem` and `server.key`, which the hub shows.
///
/// Who has `authority.key` can pass for the hub and for every program.
pub struct OwnAuthority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for OwnAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnAuthority({})", self.folder.display())
    }
}

impl OwnAuthority {
    /// Makes an authority in the folder of a hub, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if there is one: programs trust it. [`Error::Io`].
    pub fn create(data: impl AsRef<Path>) -> Result<OwnAuthority, Error> {
        let folder = data.as_ref().join(FOLDER);
        let (certificate_path, key_path) = (folder.join("authority.pem"), folder.join("authority.key"));
        for path in [&certificate_path, &key_path] {
            if path.symlink_metadata().is_ok() {
                let text = format!(
                    "`{}` is there already, and programs may trust it; renew the hub's certificate instead",
                    path.display()
                );
                return Err(Error::Configuration(text));
            }
        }
        let key = KeyPair::generate().map_err(made)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(made)?;
        // Each has a name of its own, so that one is not taken for another.
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| Error::io("random bytes for an authority", error.into()))?;
        named(&mut params, &format!("Convoke authority {:08x}", u32::from_be_bytes(random)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, AUTHORITY_TIME);
        let certificate = params.self_signed(&key).map_err(made)?;
        crate::files::make_folder(&folder)
            .map_err(|error| Error::io(format!("folder `{}`", folder.display()), error))?;
        // The key first: an authority that is there has one.
        write(&key_path, &key.serialize_pem())?;
        write(&certificate_path, &certificate.pem())?;
        Ok(OwnAuthority { folder, issuer: Issuer::new(params, key) })
    }

    /// The authority in the folder of a hub.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is none; [`Error::Configuration`] if it cannot be read, or others can read its key.
    pub fn open(data: impl AsRef<Path>) -> Result<OwnAuthority, Error> {
        let folder = data.as_ref().join(FOLDER);
        let (certificate_path, key_path) = (folder.join("authority.pem"), folder.join("authority.key"));
        let certificate = read(&certificate_path, &format!("authority `{}`", certificate_path.display()), Secret::No)?;
        let key = read(&key_path, &format!("key `{}`", key_path.display()), Secret::Yes)?;
        let issuer = KeyPair::from_pem(&key).and_then(|key| Issuer::from_ca_cert_pem(&certificate, key));
        let issuer = issuer.map_err(|error| {
            Error::Configuration(format!("authority `{}`: it cannot sign: {error}", certificate_path.display()))
        })?;
        Ok(OwnAuthority { folder, issuer })
    }

    /// The certificate of the authority: every node that joins over TLS needs a copy.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Checks that a certificate can be for all of these, which [`certify_hub`](OwnAuthority::certify_hub) does too: for who
    /// wants to know before an authority is made. Nothing is read or written.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for what is no name and no address of a host.
    pub fn check_hosts(hosts: &[String]) -> Result<(), Error> {
        hosts.iter().try_for_each(|host| checked(host).map(|_| ()))
    }

    /// Makes the certificate of the hub, in place of one that is there: for `hosts`, names and addresses, for those that the
    /// one before was for, and for this machine's own names (its host name, `localhost`, 127.0.0.1 and ::1). Tells for which,
    /// in this order. It is valid for 397 days. A hub that runs takes it with [`Hub::reload_tls`](crate::Hub::reload_tls).
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for what is no name and no address of a host; [`Error::Io`].
    pub fn certify_hub(&self, hosts: &[String]) -> Result<Vec<String>, Error> {
        let TlsOptions { certificate, key: key_path, .. } = self.options();
        let mut all = hosts.iter().map(|host| checked(host)).collect::<Result<Vec<_>, _>>()?;
        if let Ok(before) = Certificate::read(&certificate, &key_path) {
            all.extend(hosts_in(before.own()));
        }
        all.extend(System::host_name().into_iter().filter(|host| is_host(host)));
        all.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|host| seen.insert(host.to_ascii_lowercase()));

        let mut params = CertificateParams::new(all.clone()).map_err(made)?;
        named(&mut params, "Convoke hub");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.certify(params, &certificate, &key_path)?;
        Ok(all)
    }

    /// Makes a certificate by which a program joins as `name` without a token: its rights are those of that name. It is valid
    /// for 397 days. Nothing is overwritten.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::Configuration`] for a name of the hub's own, or if one of the files is there;
    /// [`Error::Io`].
    pub fn certify_node(&self, name: &str, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<(), Error> {
        let name = Name::parse(name)?;
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        if name.is_reserved() {
            let text = format!("`{name}` is not for programs: names that begin with `$` are the hub's own");
            return Err(Error::Configuration(text));
        }
        for path in [certificate, key] {
            if path.symlink_metadata().is_ok() {
                let text = format!("`{}` is there already; move it away, or choose another place", path.display());
                return Err(Error::Configuration(text));
            }
        }
        let mut params = CertificateParams::new(Vec::new()).map_err(made)?;
        let url = Ia5String::try_from(name.to_url()).map_err(made)?;
        params.subject_alt_names = vec![SanType::URI(url)];
        named(&mut params, "Convoke program");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.certify(params, certificate, key)
    }

    fn certify(&self, mut params: CertificateParams, certificate: &Path, key_path: &Path) -> Result<(), Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, CERTIFICATE_TIME);
        let key = KeyPair::generate().map_err(made)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(made)?;
        write(key_path, &key.serialize_pem())?;
        write(certificate, &signed.pem())
    }

    fn options(&self) -> TlsOptions {
        files(&self.folder)
    }
}

/// What a hub with this folder shows if it is not told otherwise: what its own authority has signed, if there is any.
pub(crate) fn default_options(data: &Path) -> Option<TlsOptions> {
    let options = files(&data.join(FOLDER));
    options.certificate.symlink_metadata().is_ok().then_some(options)
}

fn files(folder: &Path) -> TlsOptions {
    TlsOptions {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_authority: Some(folder.join("authority.pem")),
    }
}

fn is_host(host: &str) -> bool {
    ServerName::try_from(host.to_owned()).is_ok()
}

/// A host as a certificate has it.
fn checked(host: &str) -> Result<String, Error> {
    // As an address writes them.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match is_host(host) {
        true => Ok(host.to_owned()),
        false => Err(Error::Configuration(format!("`{}` is no name and no address of a host", host.escape_debug()))),
    }
}

/// The names and addresses that a certificate is for.
fn hosts_in(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

fn named(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

fn valid_for(params: &mut CertificateParams, time: Duration) {
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - BACKDATED, now + time);
}

fn write(path: &Path, pem: &str) -> Result<(), Error> {
    folder::replace(path, pem.as_bytes()).map_err(|error| Error::io(format!("file `{}`", path.display()), error))
}

/// Certificates are made of what was checked, so only the system's randomness can be missing.
fn made(error: rcgen::Error) -> Error {
    Error::Configuration(format!("a certificate could not be made: {error}"))
}
