//! The PROXY protocol, version 2 (haproxy, doc/proxy-protocol.txt): what an application behind a proxy is told about a
//! connection before its first byte.

use crate::tls::certificate::Certificate;
use crate::tls::facts::Facts;
use std::net::{IpAddr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// §2.2
mod kind {
    pub const ALPN: u8 = 0x01;
    pub const AUTHORITY: u8 = 0x02;
    pub const SSL: u8 = 0x20;
    pub const SSL_VERSION: u8 = 0x21;
    pub const SSL_CN: u8 = 0x22;
    pub const SSL_CIPHER: u8 = 0x23;
    /// The client's certificate, DER: its names are in there.
    pub const SSL_CLIENT_CERT: u8 = 0x28;
}

/// §2.2.6, the bits of `client`: over TLS, a certificate shown on this connection, a certificate shown in this session.
mod client {
    pub const SSL: u8 = 1;
    pub const CERT_CONN: u8 = 2;
    pub const CERT_SESS: u8 = 4;
}

/// `tls` is none where the connection is passed through.
pub fn proxy_header(source: SocketAddr, destination: SocketAddr, tls: Option<&Facts>) -> Vec<u8> {
    let (family, mut body) = addresses(source.ip(), destination.ip());
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    if let Some(facts) = tls {
        push_tls(facts, &mut body);
    }
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    [SIGNATURE, &[VERSION_2_PROXY, family], &length, &body].concat()
}

fn addresses(source: IpAddr, destination: IpAddr) -> (u8, Vec<u8>) {
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (TCP_OVER_IPV4, [from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => (TCP_OVER_IPV6, [from.octets(), to.octets()].concat()),
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            (TCP_OVER_IPV6, [octets(from), octets(to)].concat())
        }
    }
}

fn push_tls(facts: &Facts, body: &mut Vec<u8>) {
    if let Some(protocol) = &facts.protocol {
        push(body, kind::ALPN, protocol);
    }
    if let Some(name) = &facts.server_name {
        push(body, kind::AUTHORITY, name.as_bytes());
    }
    let shown = match (&facts.certificate, facts.is_resumed) {
        (None, _) => 0,
        (Some(_), true) => client::CERT_SESS,
        (Some(_), false) => client::CERT_SESS | client::CERT_CONN,
    };
    // "zero if the client presented a certificate and it was successfully verified, and non-zero otherwise"
    let mut ssl = vec![client::SSL | shown, 0, 0, 0, u8::from(facts.certificate.is_none())];
    push(&mut ssl, kind::SSL_VERSION, facts.version.as_bytes());
    push(&mut ssl, kind::SSL_CIPHER, facts.cipher.as_bytes());
    if let Some(der) = &facts.certificate {
        if let Some(name) = Certificate::read(der).and_then(|certificate| certificate.common_name) {
            push(&mut ssl, kind::SSL_CN, name);
        }
        push(&mut ssl, kind::SSL_CLIENT_CERT, der);
    }
    push(body, kind::SSL, &ssl);
}

fn push(body: &mut Vec<u8>, kind: u8, content: &[u8]) {
    body.push(kind);
    body.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend_from_slice(content);
}
