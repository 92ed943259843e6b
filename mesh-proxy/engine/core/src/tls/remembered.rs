//! Signatures of certificates that were found valid before are not checked again: all clients show the same few certificates,
//! and a check is a fifth of what a full handshake costs in cryptography. What is remembered is that these bytes are a signature
//! of those under that key, which stays true whoever is trusted and whatever the time is. Who may have signed what, and until
//! when, is found anew for each handshake.

use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use std::collections::HashSet;
use std::sync::{LazyLock, PoisonError, RwLock};
use webpki::aws_lc_rs as algorithms;

/// For the signatures in a chain. Those of handshakes are never the same.
pub static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] = [
    &Remembering(0, algorithms::ECDSA_P256_SHA256),
    &Remembering(1, algorithms::ECDSA_P256_SHA384),
    &Remembering(2, algorithms::ECDSA_P384_SHA256),
    &Remembering(3, algorithms::ECDSA_P384_SHA384),
];

/// Shared by all threads. Each entry is all that was checked, and no digest of it: none can be taken for another one.
static VALID: LazyLock<RwLock<HashSet<Box<[u8]>>>> = LazyLock::new(RwLock::default);

/// When there are as many, all are forgotten.
const MOST: usize = 256;
/// A certificate of the mesh takes less, and what is longer is not remembered.
const LONGEST: usize = 4096;

/// An algorithm, with its number in the list.
#[derive(Debug)]
struct Remembering(u8, &'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let Self(number, algorithm) = self;
        let lengths = [public_key.len().to_le_bytes(), message.len().to_le_bytes()].concat();
        let all = [&[*number][..], &lengths, public_key, message, signature].concat();
        if VALID.read().unwrap_or_else(PoisonError::into_inner).contains(&all[..]) {
            return Ok(());
        }
        algorithm.verify_signature(public_key, message, signature)?;
        if all.len() <= LONGEST {
            let mut valid = VALID.write().unwrap_or_else(PoisonError::into_inner);
            if valid.len() >= MOST {
                valid.clear();
            }
            valid.insert(all.into());
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.1.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.1.signature_alg_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey};

    #[test]
    fn only_what_was_valid_is_so_again() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let signature = key.sign(b"message").unwrap();
        let [p256, p256_384, ..] = ALGORITHMS;
        for _ in 0..2 {
            assert!(p256.verify_signature(key.der_bytes(), b"message", &signature).is_ok());
            assert!(p256.verify_signature(other.der_bytes(), b"message", &signature).is_err());
            assert!(p256_384.verify_signature(key.der_bytes(), b"message", &signature).is_err());
            assert!(p256.verify_signature(key.der_bytes(), b"messag", &[b"e", &signature[..]].concat()).is_err());
            for at in 0..signature.len() {
                let mut damaged = signature.clone();
                damaged[at] ^= 1;
                assert!(p256.verify_signature(key.der_bytes(), b"message", &damaged).is_err(), "{at}");
            }
        }
    }

    #[test]
    fn as_much_is_kept_as_there_is_room_for() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        for number in 0..=MOST {
            let message = number.to_le_bytes();
            let signature = key.sign(&message).unwrap();
            assert!(ALGORITHMS[0].verify_signature(key.der_bytes(), &message, &signature).is_ok());
        }
        assert!(VALID.read().unwrap().len() <= MOST);
        let long = vec![0; LONGEST];
        let signature = key.sign(&long).unwrap();
        assert!(ALGORITHMS[0].verify_signature(key.der_bytes(), &long, &signature).is_ok());
        assert!(VALID.read().unwrap().iter().all(|one| one.len() <= LONGEST));
    }
}
