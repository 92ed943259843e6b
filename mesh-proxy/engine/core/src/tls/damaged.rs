//! Whatever a peer may send, for everything here that reads it: real inputs with damage, as arbtest thinks them up. A failure
//! prints a seed, with which it can be repeated.

use super::certificate::{Certificate, GeneralName};
use super::chain::verify;
use super::facts::Facts;
use super::hello::{Hello, first_message};
use super::names::Name;
use super::verdict::Peer;
use crate::net::proxy_header::proxy_header;
use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use webpki::EndEntityCert;

const BUDGET_MS: u64 = 400;

/// Bytes that are changed, cut out, put in and repeated.
fn damaged(u: &mut Unstructured<'_>, real: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = real.to_vec();
    for _ in 0..u.int_in_range(0..=6)? {
        let at = u.choose_index(bytes.len() + 1)?;
        let end = (at + u.int_in_range(0..=8)?).min(bytes.len());
        match u.int_in_range(0..=4)? {
            0 => bytes[at..end].fill(u.arbitrary()?),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..end, u.arbitrary::<Vec<u8>>()?)),
            3 => bytes.extend_from_within(at..end),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(u.arbitrary()?);
        }
    }
    Ok(bytes)
}

/// What rustls says first.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = ClientConnection::new(Arc::new(config), "web.example".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

fn certificate() -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec!["web.example".into(), "203.0.113.7".into()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://mesh/web".try_into().unwrap()));
    params.distinguished_name.push(DnType::CommonName, "web");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[test]
fn a_first_message_is_there_or_not_and_more_bytes_do_not_change_it() {
    let real = client_hello();
    assert_eq!(Hello::read(&first_message(&real).unwrap()).server_name.as_deref(), Some("web.example"));
    arbtest(|u| {
        let bytes = damaged(u, &real)?;
        let end = u.choose_index(bytes.len() + 1)?;
        let (early, late) = (first_message(&bytes[..end]), first_message(&bytes));
        assert!(early.is_none() || early == late);
        let hello = Hello::read(&late.unwrap_or_default());
        assert!(hello.groups.len() * 2 <= bytes.len());
        Ok(())
    })
    .budget_ms(BUDGET_MS);
}

#[test]
fn webpki_and_this_reader_find_the_same_names_in_a_certificate() {
    let real = certificate();
    arbtest(|u| {
        let der = CertificateDer::from(damaged(u, &real)?);
        let (Some(read), Ok(known)) = (Certificate::read(&der), EndEntityCert::try_from(&der)) else { return Ok(()) };
        for name in known.valid_dns_names() {
            assert!(read.names().any(|own| own == GeneralName::Dns(name.as_bytes())), "{name}");
            assert!(Name::read(name).is_in(&read));
        }
        Ok(())
    })
    .budget_ms(BUDGET_MS);
}

#[test]
fn no_damaged_certificate_is_believed() {
    let real = certificate();
    let mut roots = RootCertStore::empty();
    roots.add(real.clone()).unwrap();
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    arbtest(|u| {
        let der = CertificateDer::from(damaged(u, &real)?);
        let above = [real.clone(), CertificateDer::from(damaged(u, &real)?)];
        // A CA that signed itself is no end entity, and of all others the signature is wrong.
        assert!(verify(&der, &above, &roots, UnixTime::now(), algorithms, Peer::Client).is_err() || der == real);
        Ok(())
    })
    .budget_ms(BUDGET_MS);
}

#[test]
fn an_application_is_told_of_any_client_in_a_header_of_the_length_that_it_says() {
    let real = certificate();
    let address = |u: &mut Unstructured<'_>| Ok(SocketAddr::new(u.arbitrary::<[u8; 16]>()?.into(), u.arbitrary()?));
    arbtest(|u| {
        let facts = Facts {
            version: "TLSv1.3",
            cipher: String::new(),
            group: None,
            is_resumed: u.arbitrary()?,
            protocol: u.arbitrary()?,
            server_name: u.arbitrary()?,
            certificate: Some(damaged(u, &real)?),
        };
        let header = proxy_header(address(u)?, address(u)?, Some(&facts));
        assert_eq!(usize::from(u16::from_be_bytes([header[14], header[15]])), header.len() - 16);
        Ok(())
    })
    .budget_ms(BUDGET_MS);
}

#[test]
fn any_text_is_a_name() {
    let real = certificate();
    let read = Certificate::read(&real).unwrap();
    arbtest(|u| {
        let text: String = u.arbitrary()?;
        let is_in = Name::read(&text).is_in(&read);
        let is_meant = text.eq_ignore_ascii_case("web.example") || text == "203.0.113.7" || text == "spiffe://mesh/web";
        assert_eq!(is_in, is_meant, "{text}");
        Ok(())
    })
    .budget_ms(BUDGET_MS / 4);
}
