//! Whether a chain of certificates leads to the mesh CA (RFC 5280 §6), and its leaf may be used for TLS on that side. webpki
//! follows the chain and checks signatures, dates, CAs and extended key usages. It leaves key usages out (RFC 5280 §4.2.1.3);
//! they are checked here, by the rules of OpenSSL's purposes (crypto/x509/v3_purp.c).

use super::certificate::{Certificate, KeyUsages};
use super::verdict::{Peer, TooManyCertificates};
use crate::limits::MOST_CERTIFICATES;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

pub fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
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
    let intermediates = first_of_each_name(intermediates);
    let verified = leaf.verify_for_usage(algorithms, &roots.roots, &intermediates, now, usage, None, Some(&may_sign));
    verified.map(drop).map_err(refused)
}

/// Of certificates of one name each may have signed each other one, and webpki would follow them in all orders.
fn first_of_each_name<'a>(certificates: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut names: Vec<&[u8]> = Vec::new();
    let mut chain = Vec::with_capacity(certificates.len());
    for der in certificates {
        if let Some(Certificate { subject, .. }) = Certificate::read(der)
            && !names.contains(&subject)
        {
            names.push(subject);
            chain.push(CertificateDer::from(&der[..]));
        }
    }
    chain
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

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    };
    use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use webpki::aws_lc_rs::ECDSA_P256_SHA256;

    /// Counts the signatures that it checks.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Relaxed);
            ECDSA_P256_SHA256.verify_signature(key, message, signature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            ECDSA_P256_SHA256.public_key_alg_id()
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            ECDSA_P256_SHA256.signature_alg_id()
        }
    }

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        der: CertificateDer<'static>,
    }

    fn named(name: &str, is_ca: bool) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        params
    }

    fn authority(name: &str, issuer: Option<&Authority>) -> Authority {
        let (params, key) = (named(name, true), KeyPair::generate().unwrap());
        let certificate = match issuer {
            Some(Authority { issuer, .. }) => params.signed_by(&key, issuer),
            None => params.self_signed(&key),
        };
        Authority { der: certificate.unwrap().der().clone(), issuer: Issuer::new(params, key) }
    }

    fn leaf(issuer: &Authority) -> CertificateDer<'static> {
        named("workload", false).signed_by(&KeyPair::generate().unwrap(), &issuer.issuer).unwrap().der().clone()
    }

    /// Whether the chain leads to the mesh CA, and how many signatures were checked for that.
    fn judged(ca: &Authority, leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> (bool, usize) {
        judged_by(&[ca], leaf, above)
    }

    fn judged_by(cas: &[&Authority], leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> (bool, usize) {
        let mut roots = RootCertStore::empty();
        for ca in cas {
            roots.add(ca.der.clone()).unwrap();
        }
        let counting = Counting::default();
        let outcome = verify(leaf, above, &roots, UnixTime::now(), &[&counting], Peer::Client);
        (outcome.is_ok(), counting.0.load(Relaxed))
    }

    #[test]
    fn a_chain_of_the_mesh_costs_one_signature() {
        let ca = authority("mesh", None);
        let other = authority("mesh", None);
        assert_eq!(judged(&ca, &leaf(&ca), &[]), (true, 1));
        assert_eq!(judged(&ca, &leaf(&ca), &[other.der.clone(), ca.der.clone()]), (true, 1));
    }

    /// As after a `set` with a window: two mesh CAs of one name, and the leaf of either may be the one that comes.
    #[test]
    fn of_two_mesh_cas_of_one_name_each_is_followed() {
        let (ca, before, stranger) = (authority("mesh", None), authority("mesh", None), authority("mesh", None));
        assert_eq!(judged_by(&[&ca, &before], &leaf(&ca), &[]), (true, 1));
        assert_eq!(judged_by(&[&ca, &before], &leaf(&before), &[before.der.clone()]), (true, 2));
        assert_eq!(judged_by(&[&ca], &leaf(&before), &[]), (false, 1));
        assert_eq!(judged_by(&[&ca, &before], &leaf(&stranger), &[]), (false, 2));
    }

    #[test]
    fn a_chain_that_is_too_long_costs_none() {
        let ca = authority("mesh", None);
        let above = vec![ca.der.clone(); MOST_CERTIFICATES];
        assert_eq!(judged(&ca, &leaf(&ca), &above), (false, 0));
        assert_eq!(judged(&ca, &leaf(&ca), &above[1..]), (true, 1));
    }

    /// Each of them may have signed each other one, by their names: all orders would be tried.
    #[test]
    fn strangers_who_may_have_signed_each_other_cost_no_more_than_there_are() {
        let ca = authority("mesh", None);
        for name in ["mesh", "stranger"] {
            let mut impostor = authority("mesh", None);
            let above: Vec<_> = (1..MOST_CERTIFICATES)
                .map(|at| {
                    // Some say that the mesh CA signed them, some that their like did.
                    let by = authority(if at % 2 == 0 { "mesh" } else { name }, None);
                    impostor = authority(name, Some(&by));
                    impostor.der.clone()
                })
                .collect();
            let (is_good, signatures) = judged(&ca, &leaf(&impostor), &above);
            assert!(!is_good && signatures <= MOST_CERTIFICATES, "{name}: {signatures}");
        }
    }
}
