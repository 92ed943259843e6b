//! Whether a chain of certificates leads to the mesh CA (RFC 5280 §6), and its leaf may be used for TLS on that side. webpki
//! follows the chain and checks signatures, dates, CAs and extended key usages. It leaves key usages out (RFC 5280 §4.2.1.3);
//! they are checked here, by the rules of OpenSSL's purposes (crypto/x509/v3_purp.c).

use super::certificate::{Certificate, KeyUsages};
use super::remembered::ALGORITHMS;
use super::verdict::{Peer, TooManyCertificates};
use crate::limits::MOST_CERTIFICATES;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

pub fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
    peer: Peer,
) -> Result<(), Error> {
    // Before a signature is checked.
    if intermediates.len() >= MOST_CERTIFICATES {
        return Err(CertificateError::Other(OtherError(Arc::new(TooManyCertificates))).into());
    }
    let read = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
    if !read.key_usages.is_none_or(|usages| usages.intersects(usable(peer))) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    let usage = match peer {
        Peer::Client => KeyUsage::client_auth(),
        Peer::Upstream => KeyUsage::server_auth(),
    };
    let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
    let verified = leaf.verify_for_usage(&ALGORITHMS, &roots.roots, intermediates, now, usage, None, Some(&may_sign));
    verified.map(drop).map_err(refused)
}

/// `check_purpose_ssl_client` and `check_purpose_ssl_server`.
fn usable(peer: Peer) -> KeyUsages {
    let common = KeyUsages::DIGITAL_SIGNATURE.union(KeyUsages::KEY_AGREEMENT);
    match peer {
        Peer::Client => common,
        Peer::Upstream => common.union(KeyUsages::KEY_ENCIPHERMENT),
    }
}

fn may_sign(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let all_may = path.intermediate_certificates().all(|certificate| {
        let der = certificate.der();
        let read = Certificate::read(&der);
        read.is_some_and(|read| read.key_usages.is_none_or(|usages| usages.intersects(KeyUsages::CERT_SIGN)))
    });
    if all_may { Ok(()) } else { Err(webpki::Error::EndEntityUsedAsCa) }
}

fn refused(error: webpki::Error) -> Error {
    use webpki::Error as Found;
    match error {
        Found::CertExpired { .. } | Found::InvalidCertValidity => CertificateError::Expired,
        Found::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Found::UnknownIssuer => CertificateError::UnknownIssuer,
        Found::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Found::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Found::BadDer | Found::BadDerTime | Found::TrailingData(_) => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
    .into()
}
