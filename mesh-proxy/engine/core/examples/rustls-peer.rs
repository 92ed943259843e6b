//! A peer of the mesh proxy for tests, of rustls as it comes: `rustls-peer client HOST:PORT FOLDER`, or `rustls-peer server HOST
//! FOLDER`. The folder has `certChain.pem`, `key.pem` and `mesh-ca.pem`.
//!
//! The client says a line, wants it back, and does so again in a session that it resumes. The server says at which port it
//! listens, and gives back what each client says, until it is ended.

use rustls::client::WebPkiServerVerifier;
use rustls::compress::{CertCompressor, CertDecompressor, CompressionFailed, CompressionLevel, DecompressionFailed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateCompressionAlgorithm, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned,
};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Outcome = Result<(), Box<dyn Error>>;

/// Takes and sends compressed certificates (RFC 8879), by what a client says. The proxy must not send any, nor ask for any: how
/// long they are is seen when they are unpacked.
#[derive(Debug)]
struct NotWanted;

impl CertDecompressor for NotWanted {
    fn decompress(&self, _: &[u8], _: &mut [u8]) -> Result<(), DecompressionFailed> {
        Err(DecompressionFailed)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}

static WAS_ASKED: AtomicBool = AtomicBool::new(false);

impl CertCompressor for NotWanted {
    fn compress(&self, _: Vec<u8>, _: CompressionLevel) -> Result<Vec<u8>, CompressionFailed> {
        WAS_ASKED.store(true, Ordering::Relaxed);
        Err(CompressionFailed)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

fn identity(folder: &Path) -> Result<Identity, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("mesh-ca.pem"))?)?;
    let chain = CertificateDer::pem_file_iter(folder.join("certChain.pem"))?.collect::<Result<_, _>>()?;
    Ok(Identity { chain, key: PrivateKeyDer::from_pem_file(folder.join("key.pem"))?, roots: roots.into() })
}

fn client(address: &str, folder: &Path) -> Outcome {
    let Identity { chain, key, roots } = identity(folder)?;
    let verifier = WebPkiServerVerifier::builder(roots).build()?;
    let mut config = ClientConfig::builder().with_webpki_verifier(verifier).with_client_auth_cert(chain, key)?;
    config.cert_decompressors = vec![&NotWanted];
    config.cert_compressors = vec![&NotWanted];
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..2 {
        let connection = ClientConnection::new(config.clone(), "server".try_into()?)?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
        let takes_early_data = stream.conn.early_data().is_some();
        let line = b"hello, mesh\n";
        stream.write_all(line)?;
        let mut answer = vec![0; line.len()];
        stream.read_exact(&mut answer)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        // It fails where the end is not a clean one.
        stream.read_to_end(&mut answer)?;
        let (version, kind) = (stream.conn.protocol_version(), stream.conn.handshake_kind());
        let was_asked = WAS_ASKED.load(Ordering::Relaxed);
        let is_same = answer == line;
        println!("{version:?} {kind:?} early data: {takes_early_data}, compressed: {was_asked}, {is_same}");
    }
    Ok(())
}

fn server(host: &str, folder: &Path) -> Outcome {
    let Identity { chain, key, roots } = identity(folder)?;
    let verifier = WebPkiClientVerifier::builder(roots).build()?;
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.max_early_data_size = 16_384;
    let config = Arc::new(config);
    let listener = TcpListener::bind((host, 0))?;
    println!("{}", listener.local_addr()?.port());
    for connection in listener.incoming() {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone())?, connection?);
        let mut said = Vec::new();
        if let Err(error) = stream.read_to_end(&mut said) {
            println!("refused: {error}");
            continue;
        }
        stream.write_all(&said)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        let has_early_data = stream.conn.early_data().is_some();
        println!("{:?} early data: {has_early_data}", stream.conn.handshake_kind());
    }
    Ok(())
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["client", address, folder] => client(address, Path::new(folder)),
        ["server", host, folder] => server(host, Path::new(folder)),
        _ => Err("rustls-peer client HOST:PORT FOLDER, or rustls-peer server HOST FOLDER".into()),
    }
}
