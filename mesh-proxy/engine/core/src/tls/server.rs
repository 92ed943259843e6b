//! The server's side of TLS, for all routes: with a client certificate, or without.

use super::chain::verify;
use super::credentials::Credentials;
use super::hello::Hello;
use super::provider::{GROUPS, provider, versions};
use super::remembered::ALGORITHMS;
use super::verdict::Peer;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::Arc;

/// rustls takes the group that the client likes best; the mesh takes its own best one, also where the client has to be asked
/// for it. So there is a set of settings for each group.
#[derive(Debug)]
pub struct ServerSide {
    by_group: Vec<Arc<ServerConfig>>,
}

impl ServerSide {
    /// A session is resumed only under the settings that it began under: the keys of its ticket (RFC 8446 §4.6.1, RFC 5077)
    /// are in no file, and are gone with them.
    pub fn new(
        credentials: &Credentials,
        requires_certificate: bool,
        allows_1_2: bool,
        resumes: bool,
    ) -> Result<Self, Error> {
        let ticketer = Ticketer::new()?;
        let by_group = GROUPS.iter().map(|&group| {
            let provider = provider(&[group]);
            let builder =
                ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions(allows_1_2))?;
            let builder = if requires_certificate {
                let roots = credentials.roots.clone();
                let signatures = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
                let signatures = signatures.map_err(|error| Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(Arc::new(AnyWorkload { roots, signatures }))
            } else {
                builder.with_no_client_auth()
            };
            let mut config = builder.with_single_cert(credentials.chain.clone(), credentials.key.clone_key())?;
            if resumes {
                config.ticketer = ticketer.clone();
            }
            config.send_tls13_tickets = usize::from(resumes);
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.require_ems = true;
            Ok(Arc::new(config))
        });
        Ok(Self { by_group: by_group.collect::<Result<_, Error>>()? })
    }

    pub fn settings(&self, hello: &Hello) -> Arc<ServerConfig> {
        // The first group is for TLS 1.3 alone.
        let usable = GROUPS.iter().skip(usize::from(!hello.speaks_1_3)).map(|group| u16::from(group.name()));
        let skipped = GROUPS.len() - usable.len();
        let chosen =
            usable.enumerate().find(|(_, number)| hello.groups.contains(number)).map_or(1, |(at, _)| skipped + at);
        let config = &self.by_group[chosen];
        match application_protocol(&hello.protocols) {
            None => config.clone(),
            Some(protocol) => {
                let mut own = ServerConfig::clone(config);
                own.alpn_protocols = vec![protocol.to_vec()];
                Arc::new(own)
            }
        }
    }
}

/// The proxy carries bytes and does not know what the application speaks, so it takes what every server speaks if the client
/// can do with it. A client that offers HTTP/2 alone is one of gRPC, which gives up without this answer; one that offers
/// something else alone knows what it wants.
fn application_protocol(offered: &[Vec<u8>]) -> Option<&[u8]> {
    [&b"http/1.1"[..], b"h2"]
        .into_iter()
        .find(|&known| offered.iter().any(|one| one == known))
        .or(offered.first().map(|one| &one[..]))
}

/// Any workload of the mesh. Signatures of the handshake are webpki's matter.
#[derive(Debug)]
struct AnyWorkload {
    roots: Arc<RootCertStore>,
    signatures: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for AnyWorkload {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signatures.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        verify(end_entity, intermediates, &self.roots, now, &ALGORITHMS, Peer::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_chosen_that_every_server_speaks() {
        let chosen = |offered: &[&str]| {
            let offered: Vec<Vec<u8>> = offered.iter().map(|one| one.as_bytes().to_vec()).collect();
            application_protocol(&offered).map(<[u8]>::to_vec)
        };
        assert_eq!(chosen(&["h2", "http/1.1"]), Some(b"http/1.1".to_vec()));
        assert_eq!(chosen(&["h2"]), Some(b"h2".to_vec()));
        assert_eq!(chosen(&["postgresql", "other"]), Some(b"postgresql".to_vec()));
        assert_eq!(chosen(&[]), None);
    }
}
