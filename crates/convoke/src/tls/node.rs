//! The node's side of TLS: whom it believes, what it shows, and the sentences of what goes wrong between it and a hub.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convoke_core::frame::{Frame, Preface};
use convoke_core::{Code, Refusal};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::carry::{Opening, carry, of_tls};
use super::{Authority, Certificate, day, provider};
use crate::address::Address;
use crate::error::Error;
use crate::transport::Stream;
use crate::transport::pipe::pipe;

/// What a node needs for links over TLS.
pub(crate) struct NodeTls {
    authority: Authority,
    certificate: Option<Arc<CertifiedKey>>,
}

impl NodeTls {
    /// What a node needs at this address, if anything, of what it was given.
    pub(crate) fn of(
        address: &Address,
        authority: Option<Authority>,
        certificate: Option<Certificate>,
    ) -> Result<Option<NodeTls>, Error> {
        match (address, authority) {
            (Address::Tls { .. }, Some(authority)) => NodeTls::new(authority, certificate).map(Some),
            (Address::Tls { .. }, None) => {
                let text = format!(
                    "{address}: it is not said whose certificates are believed; give the `authority.pem` of the hub, in the \
                     shell with --authority"
                );
                Err(Error::Configuration(text))
            }
            _ => Ok(None),
        }
    }

    fn new(authority: Authority, certificate: Option<Certificate>) -> Result<NodeTls, Error> {
        let certified = |Certificate { chain, key }: Certificate| {
            let certified = CertifiedKey::from_der(chain, key.clone_key(), &provider());
            certified.map_err(|error| Error::Configuration(format!("a certificate and its key: {error}")))
        };
        let certificate = certificate.map(certified).transpose()?.map(Arc::new);
        Ok(NodeTls { authority, certificate })
    }

    /// Agrees with the hub of `address` on TLS, and leaves a task behind that carries the link. Tells too whether the two
    /// sides know each other by certificates, so that neither needs to prove a token.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        address: &Address,
    ) -> Result<(Stream, bool), Refusal> {
        let bad = |why: String| Refusal::new(Code::Unauthorized, format!("the hub at {address}: {why}"));
        let asked = Arc::new(AtomicBool::new(false));
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?
            .with_root_certificates(self.authority.0.clone());
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let shown = Shown { certificate: certificate.clone(), asked: asked.clone() };
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| bad(format!("no certificate can be for `{}`", host.escape_debug())))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, Opening::new(stream));
        let tls = match connecting.into_fallible().await {
            Ok(tls) => tls,
            Err((error, opening)) => {
                let why = in_clear(opening.first(), address).unwrap_or_else(|| why_not(&error, host, address));
                opening.end().await;
                return Err(why);
            }
        };
        let (near, far) = pipe();
        let address = address.clone();
        tokio::spawn(carry(tls.into(), far, move |error| refused(error, &address)));
        Ok((Stream::Pipe(near), asked.load(Ordering::Acquire)))
    }
}

/// Shows a certificate, and notes that it was asked for.
#[derive(Debug)]
struct Shown {
    certificate: Arc<CertifiedKey>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Release);
        Some(self.certificate.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a hub says that does not speak TLS here, or has no room to.
fn in_clear(first: &[u8], address: &Address) -> Option<Refusal> {
    let rest = first.strip_prefix(&Preface::MAGIC)?.get(Preface::BYTES - Preface::MAGIC.len()..)?;
    Some(match Frame::decode(rest) {
        Ok(Some((Frame::Close { code: code @ (Code::Limit | Code::HubStopping), text }, _))) => {
            Refusal::new(code, text.to_owned())
        }
        _ => {
            let text = format!(
                "the hub at {address} does not speak TLS: give it a certificate with `convoke tls init`, or, on its own \
                 machine, use `tcp://`"
            );
            Refusal::new(Code::Unauthorized, text)
        }
    })
}

/// Why the two sides did not agree.
fn why_not(error: &io::Error, host: &str, address: &Address) -> Refusal {
    let unauthorized = |text: String| Refusal::new(Code::Unauthorized, text);
    let hub = format!("the certificate of the hub at {address}");
    let Some(error) = of_tls(error) else {
        let text = format!("no hub answers at {address}: the connection was cut before TLS was agreed upon ({error})");
        return Refusal::new(Code::Unreachable, text);
    };
    if let Some(why) = refused(error, address) {
        return why;
    }
    let rustls::Error::InvalidCertificate(why) = error else {
        let text = format!("it does not speak TLS as a hub does: {error}");
        return Refusal::new(Code::BadFrame, text);
    };
    unauthorized(match why {
        // Two authorities may have one name; then the signature is what is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("{hub} is not signed by the authority that was given; take the `authority.pem` of that hub")
        }
        CertificateError::NotValidForName => format!("{hub} is not for `{host}`; {ANOTHER_NAME}"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<String> = presented.iter().map(|name| plain_name(name)).collect();
            format!("{hub} is not for `{host}`, but for {}; {ANOTHER_NAME}", names.join(", "))
        }
        CertificateError::Expired => format!("{hub} has expired; {RENEW}"),
        CertificateError::ExpiredContext { not_after, .. } => {
            let on = day(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX));
            format!("{hub} has expired on {on}; {RENEW}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("{hub} is not valid yet; is the clock of this machine right?")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{hub} is not one for hubs; take one that is for servers")
        }
        other => format!("{hub} is not to be believed: {other}"),
    })
}

const ANOTHER_NAME: &str = "use a name that it is for, or add this one there with `convoke tls init --renew --host`";

const RENEW: &str = "renew it there with `convoke tls init --renew`";

/// A name in a certificate without the type that rustls shows with it.
fn plain_name(shown: &str) -> String {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(shown).trim_matches('"').escape_debug().to_string()
}

/// Why a hub does not believe this program's certificate, if that is what it says.
fn refused(error: &rustls::Error, address: &Address) -> Option<Refusal> {
    let rustls::Error::AlertReceived(alert) = error else { return None };
    let why = match alert {
        AlertDescription::CertificateExpired => "it has expired",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it is not signed by an authority that the hub believes"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => "it is not one for programs",
        _ => return None,
    };
    let text = format!(
        "the hub at {address} does not believe the certificate of this program: {why}; take one that `convoke tls issue` \
         has made there, or a token"
    );
    Some(Refusal::new(Code::Unauthorized, text))
}
