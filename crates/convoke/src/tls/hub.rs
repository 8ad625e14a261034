//! The hub's side of TLS: its certificate, read again when it is told to, and the tasks that carry its links.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use convoke_core::{Code, LinkId, Refusal};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::carry::{Opening, carry};
use super::{Authority, Certificate, TlsOptions, day, name_in, provider};
use crate::clock::now;
use crate::error::Error;
use crate::hub::HubShared;
use crate::transport::pipe::End;

/// So many days before a certificate expires the hub begins to say so.
const EXPIRES_SOON_DAYS: i64 = 30;

/// How often it looks.
const LOOK_TIME: Duration = Duration::from_secs(24 * 3600);

const DAY_SECONDS: i64 = 24 * 3600;

/// What a hub shows, and whom it believes.
pub(crate) struct HubTls {
    options: TlsOptions,
    shown: Mutex<Shown>,
}

#[derive(Clone)]
struct Shown {
    config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since 1970.
    expires: i64,
}

impl fmt::Debug for HubTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HubTls({})", self.options.certificate.display())
    }
}

impl HubTls {
    /// Reads what the options name.
    pub(crate) fn open(options: TlsOptions) -> Result<HubTls, Error> {
        let shown = Shown::read(&options)?;
        shown.look(&options.certificate);
        Ok(HubTls { options, shown: Mutex::new(shown) })
    }

    /// Reads it again, for the links that come from here on.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let shown = Shown::read(&self.options)?;
        shown.look(&self.options.certificate);
        *self.shown.lock().expect("nothing in it panics") = shown;
        Ok(())
    }

    fn shown(&self) -> Shown {
        self.shown.lock().expect("nothing in it panics").clone()
    }

    /// Says in time that the certificate expires.
    pub(crate) async fn look_after(self: Arc<HubTls>) {
        loop {
            tokio::time::sleep(LOOK_TIME).await;
            self.shown().look(&self.options.certificate);
        }
    }

    /// Carries a link that has begun to speak TLS, until it ends. Until the two sides have agreed it is a link of the hub
    /// like any other that has not joined, and ends when the hub closes it.
    pub(crate) async fn serve(
        self: Arc<HubTls>,
        stream: std::net::TcpStream,
        pipe: End,
        hub: Arc<HubShared>,
        id: LinkId,
    ) {
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let from = stream.peer_addr().map_or_else(|_| "nobody".to_owned(), |address| address.to_string());
        let accepting = TlsAcceptor::from(self.shown().config).accept(Opening::new(stream)).into_fallible();
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            () = pipe.ended() => return,
        };
        match accepted {
            Ok(tls) => {
                let chain = tls.get_ref().1.peer_certificates();
                if let Some(name) = chain.and_then(|chain| name_in(chain.first()?)) {
                    hub.lock().vouch(id, name);
                }
                // It must not keep the hub.
                drop(hub);
                carry(tls.into(), pipe, |_| None).await;
            }
            Err((error, stream)) => {
                let text = format!("{from} and the hub do not agree on TLS: {error}");
                hub.lock().turn_away(id, Refusal::new(Code::Unauthorized, text), now());
                hub.wake();
                drop(hub);
                stream.end().await;
                // Only now is it one link less.
                drop(pipe);
            }
        }
    }
}

impl Shown {
    fn read(options: &TlsOptions) -> Result<Shown, Error> {
        let Certificate { chain, key } = Certificate::read(&options.certificate, &options.key).map_err(unusable)?;
        let shown = options.certificate.display();
        let bad = |why: String| Error::Configuration(format!("certificate `{shown}`: {why}"));
        let expires = x509_parser::parse_x509_certificate(&chain[0]);
        let expires = expires.map_err(|error| bad(error.to_string()))?.1.validity().not_after.timestamp();
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?;
        let builder = match &options.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let Authority(roots) = Authority::read(path).map_err(unusable)?;
                // Who has no certificate proves a token.
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| bad(error.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key.clone_key()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => bad(format!("`{}` is not its key", options.key.display())),
            other => bad(other.to_string()),
        })?;
        // Links are permanent: what a second one could go on with is not worth keeping.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Shown { config: Arc::new(config), expires })
    }

    /// Says so if the certificate has expired, or will soon.
    fn look(&self, path: &Path) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let left = self.expires - now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let (path, on) = (path.display(), day(self.expires));
        let way_out =
            "renew it (`convoke tls init --renew` renews one of the hub's own authority) and tell the hub with SIGHUP";
        if left <= 0 {
            tracing::warn!("the certificate `{path}` has expired on {on}, and no program believes it: {way_out}");
        } else if left < EXPIRES_SOON_DAYS * DAY_SECONDS {
            tracing::warn!("the certificate `{path}` expires on {on}: {way_out}");
        }
    }
}

/// A file that was named and cannot be read is a mistake of whoever named it.
fn unusable(error: Error) -> Error {
    match error {
        Error::Io { what, source } => {
            let why = source.to_string();
            Error::Configuration(format!("{what}: {}", why.split(" (os error").next().unwrap_or(&why)))
        }
        other => other,
    }
}
