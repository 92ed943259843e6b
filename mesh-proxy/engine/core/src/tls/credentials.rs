//! What the workload proves itself with, and the anchors it believes others by.

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::sync::Arc;

/// All have one name, so a stranger's certificate costs a signature for each.
const MOST_ANCHORS: usize = 4;

#[derive(Debug)]
pub struct Credentials {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub roots: Arc<RootCertStore>,
}

impl Credentials {
    /// Reads PEM: the leaf and then the intermediate CA; the key, PKCS#8; the mesh CA, and then those before it that are
    /// still trusted. An error says which of them is wrong, and nothing of what is in it. An anchor's dates are not looked
    /// at, here and by webpki: whoever calls leaves out what has ended.
    pub fn read(cert_chain: &[u8], key: &[u8], mesh_ca: &[u8]) -> Result<Self, &'static str> {
        let certificates = |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let chain = certificates(cert_chain).map_err(|_| "certChain.pem can't be read")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "key.pem can't be read")?;
        let anchors = certificates(mesh_ca).map_err(|_| "mesh-ca.pem can't be read")?;
        if anchors.is_empty() || anchors.len() > MOST_ANCHORS {
            return Err("mesh-ca.pem is not one certificate, or a few");
        }
        let mut roots = RootCertStore::empty();
        for anchor in anchors {
            roots.add(anchor).map_err(|_| "mesh-ca.pem is no CA")?;
        }
        if chain.is_empty() {
            Err("certChain.pem has no certificate")
        } else {
            Ok(Self { chain, key, roots: roots.into() })
        }
    }
}
