//! What the workload proves itself with, and the only anchor it believes others by.

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::sync::Arc;

#[derive(Debug)]
pub struct Credentials {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub roots: Arc<RootCertStore>,
}

impl Credentials {
    /// Reads PEM: the leaf and then the intermediate CA; the key, PKCS#8; the mesh CA. An error says which of them is wrong,
    /// and nothing of what is in it.
    pub fn read(cert_chain: &[u8], key: &[u8], mesh_ca: &[u8]) -> Result<Self, &'static str> {
        let certificates = |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let chain = certificates(cert_chain).map_err(|_| "certChain.pem can't be read")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "key.pem can't be read")?;
        let [anchor] = &certificates(mesh_ca).map_err(|_| "mesh-ca.pem can't be read")?[..] else {
            return Err("mesh-ca.pem is not one certificate");
        };
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone()).map_err(|_| "mesh-ca.pem is no CA")?;
        if chain.is_empty() {
            Err("certChain.pem has no certificate")
        } else {
            Ok(Self { chain, key, roots: roots.into() })
        }
    }
}
