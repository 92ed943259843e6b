//! The client's side of TLS, of one egress route.

use super::certificate::Certificate;
use super::chain::verify;
use super::credentials::Credentials;
use super::provider::{GROUPS, provider, versions};
use super::remembered::ALGORITHMS;
use super::verdict::Peer;
use crate::limits::MOST_HANDSHAKE;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

#[derive(Clone, Debug)]
pub struct ClientSide {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

impl ClientSide {
    /// `host` is what the rule names: a DNS name is sent to the upstream (RFC 6066 §3), an address never.
    pub fn new(credentials: &Credentials, host: &str, allows_1_2: bool, resumes: bool) -> Result<Self, Error> {
        let provider = provider(&GROUPS);
        let signatures =
            WebPkiServerVerifier::builder_with_provider(credentials.roots.clone(), provider.clone()).build();
        let sessions = Arc::new(Sessions::default());
        let verifier = AnyWorkload {
            roots: credentials.roots.clone(),
            signatures: signatures.map_err(|error| Error::General(error.to_string()))?,
            sessions: sessions.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(allows_1_2))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())?;
        config.require_ems = true;
        // In TLS 1.2 a session may be known to others than the two peers (RFC 7627 §1).
        let resumption = Resumption::store(sessions).tls12_resumption(Tls12Resumption::Disabled);
        // Nobody says how long a ticket is, but what is in it.
        let own: usize = credentials.chain.iter().map(|certificate| certificate.len()).sum();
        config.resumption = if resumes && own < LONGEST_TICKET { resumption } else { Resumption::disabled() };
        let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned()).unwrap_or(nobody);
        Ok(Self { config: Arc::new(config), name })
    }
}

/// The mesh CA names workloads, not hosts: any name will do here. What a rule pins is compared when the handshake is done,
/// also where a session was resumed and no certificate was shown.
#[derive(Debug)]
struct AnyWorkload {
    roots: Arc<RootCertStore>,
    signatures: Arc<WebPkiServerVerifier>,
    sessions: Arc<Sessions>,
}

impl ServerCertVerifier for AnyWorkload {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify(end_entity, intermediates, &self.roots, now, &ALGORITHMS, Peer::Upstream)?;
        let read = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
        self.sessions.begin(read.not_after);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// Sessions of the one upstream, each resumed once (RFC 8446 §C.4). They end with the settings, which are replaced with each
/// certificate set and every hour, and with the first of the upstream's certificates to expire.
#[derive(Debug, Default)]
struct Sessions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    tickets: VecDeque<Tls13ClientSessionValue>,
    until: Option<SystemTime>,
}

/// A ticket has this side's chain in it, and is part of the first message. A peer that can't open it any more asks for the whole
/// chain behind it, and both have to fit into what it takes of a handshake.
const LONGEST_TICKET: usize = MOST_HANDSHAKE / 3;

const MOST_TICKETS: usize = 64;

impl Sessions {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, not_after: SystemTime) {
        let mut kept = self.kept();
        kept.until = Some(kept.until.map_or(not_after, |until| until.min(not_after)));
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if kept.tickets.len() == MOST_TICKETS {
            kept.tickets.pop_front();
        }
        kept.tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.kept();
        if kept.until.is_some_and(|until| until < SystemTime::now()) {
            *kept = Kept::default();
        }
        kept.tickets.pop_back()
    }
}
