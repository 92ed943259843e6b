//! What is said of a handshake that failed: the code, and what was wrong, in OpenSSL's words where it is a certificate.

use crate::code::{Code, Fault};
use rustls::{CertificateError, Error};
use std::borrow::Cow;

/// Whose certificate it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Client,
    Upstream,
}

/// What the verifiers say of a chain with more certificates than one of the mesh has.
#[derive(Debug)]
pub struct TooManyCertificates;

impl std::fmt::Display for TooManyCertificates {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("CERT_CHAIN_TOO_LONG")
    }
}

impl std::error::Error for TooManyCertificates {}

pub fn fault(error: &Error, peer: Peer) -> Fault {
    match (error, peer) {
        (Error::InvalidCertificate(reason), Peer::Client) => {
            Fault::got(Code::ClientCertificateUntrusted, verification(reason))
        }
        (Error::InvalidCertificate(reason), Peer::Upstream) => {
            Fault::got(Code::UpstreamUntrusted, verification(reason))
        }
        (Error::NoCertificatesPresented, Peer::Client) => Fault::new(Code::ClientCertificateMissing),
        (other, _) => Fault::got(Code::TlsHandshake, bounded(other.to_string())),
    }
}

/// x509_vfy.h's names, as Node has them.
pub const EXPIRED: &str = "CERT_HAS_EXPIRED";

fn verification(reason: &CertificateError) -> Cow<'static, str> {
    use CertificateError::*;
    Cow::Borrowed(match reason {
        Expired | ExpiredContext { .. } => EXPIRED,
        NotValidYet | NotValidYetContext { .. } => "CERT_NOT_YET_VALID",
        UnknownIssuer => "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        BadSignature => "CERT_SIGNATURE_FAILURE",
        InvalidPurpose | InvalidPurposeContext { .. } => "INVALID_PURPOSE",
        _ => return Cow::Owned(bounded(reason.to_string())),
    })
}

/// A peer may have had a part in it.
fn bounded(mut text: String) -> String {
    const MOST: usize = 200;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
