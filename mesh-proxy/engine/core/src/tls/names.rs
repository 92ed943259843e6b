//! Names that a rule asks for against the names of a certificate: the rules of mesh-rules/san.ts.

use super::certificate::{Certificate, GeneralName};
use std::net::IpAddr;

/// A name that a certificate must carry itself. `*` stands for no other name: nearly every workload has it.
#[derive(Clone, Debug)]
pub enum Name {
    Address(Vec<u8>),
    Uri(Vec<u8>),
    Dns(Vec<u8>),
}

impl Name {
    pub fn read(text: &str) -> Self {
        match text.parse() {
            Ok(IpAddr::V4(address)) => Self::Address(address.octets().into()),
            Ok(IpAddr::V6(address)) => Self::Address(address.octets().into()),
            Err(_) if is_uri(text) => Self::Uri(text.into()),
            Err(_) => Self::Dns(text.into()),
        }
    }

    pub fn is_in(&self, certificate: &Certificate<'_>) -> bool {
        certificate.names().any(|name| match (self, name) {
            (Self::Address(wanted), GeneralName::Address(found)) => wanted == found,
            (Self::Uri(wanted), GeneralName::Uri(found)) => wanted == found,
            (Self::Dns(wanted), GeneralName::Dns(found)) => wanted.eq_ignore_ascii_case(found),
            _ => false,
        })
    }
}

/// RFC 3986 §3.1: a scheme, a colon, and something after it, in printable ASCII.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_names_are_told_apart() {
        assert!(matches!(Name::read("203.0.113.34"), Name::Address(octets) if octets.len() == 4));
        assert!(matches!(Name::read("2001:db8::1"), Name::Address(octets) if octets.len() == 16));
        assert!(matches!(Name::read("spiffe://mesh/web"), Name::Uri(_)));
        assert!(matches!(Name::read("web.example"), Name::Dns(_)));
        assert!(matches!(Name::read("*"), Name::Dns(_)));
        assert!(matches!(Name::read("9p:x"), Name::Dns(_)));
    }
}
