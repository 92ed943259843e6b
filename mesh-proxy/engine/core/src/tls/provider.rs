//! Cipher suites, groups and algorithms of the mesh, the same as those of mesh-proxy/streams/tls/settings.ts.

use rustls::crypto::aws_lc_rs::{cipher_suite as suites, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, SignatureScheme, SupportedProtocolVersion};
use std::sync::Arc;
use webpki::aws_lc_rs as algorithms;

/// The best first. The first one stays secret also from who records now and has a quantum computer later.
pub const GROUPS: [&dyn SupportedKxGroup; 3] = [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];

/// Names of groups as OpenSSL has them, for the access log.
pub fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "prime256v1",
        _ => "other",
    }
}

/// Keys of the mesh are P-256 (docs/design.md §7). P-384 is here for a mesh CA of that size. Whoever shows another kind of
/// chain is refused before one of its signatures is checked: nothing else that fits into a handshake costs as little.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P384_SHA256,
        algorithms::ECDSA_P384_SHA384,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, P256_FIRST),
        (SignatureScheme::ECDSA_NISTP384_SHA384, P384_FIRST),
    ],
};

/// For TLS 1.2, whose schemes name no curve.
const P256_FIRST: &[&dyn SignatureVerificationAlgorithm] =
    &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256];
const P384_FIRST: &[&dyn SignatureVerificationAlgorithm] =
    &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384];

/// Those of TLS 1.3, then for 1.2 only such with forward secrecy and an AEAD.
pub fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suites::TLS13_AES_256_GCM_SHA384,
            suites::TLS13_CHACHA20_POLY1305_SHA256,
            suites::TLS13_AES_128_GCM_SHA256,
            suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ],
        kx_groups: groups.to_vec(),
        signature_verification_algorithms: ALGORITHMS,
        ..default_provider()
    })
}

/// aws-lc's first random bytes wait for the jitter of the processor, about 30 ms; all later ones, of any thread, don't.
pub fn gather_entropy() {
    // Where it fails, whoever needs random bytes is told.
    let _ = default_provider().secure_random.fill(&mut [0; 16]);
}

pub fn versions(allows_1_2: bool) -> &'static [&'static SupportedProtocolVersion] {
    static NEW: &[&SupportedProtocolVersion] = &[&TLS13];
    static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    if allows_1_2 { BOTH } else { NEW }
}
