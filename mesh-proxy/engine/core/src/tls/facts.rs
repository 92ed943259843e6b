//! What is known of a handshake that is done, for the access log and for the application.

use super::provider::group_name;
use rustls::{CommonState, HandshakeKind};

#[derive(Clone, Debug)]
pub struct Facts {
    /// As OpenSSL names it.
    pub version: &'static str,
    /// As RFC 8446 and RFC 5289 name it.
    pub cipher: String,
    pub group: Option<&'static str>,
    pub is_resumed: bool,
    pub protocol: Option<Vec<u8>>,
    pub server_name: Option<String>,
    /// The peer's, DER.
    pub certificate: Option<Vec<u8>>,
}

impl Facts {
    pub fn of(state: &CommonState, server_name: Option<String>) -> Self {
        let version = match state.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = state.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        Self {
            version,
            cipher: suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1),
            group: state.negotiated_key_exchange_group().map(|group| group_name(group.name())),
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            protocol: state.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
            certificate: state.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec()),
        }
    }
}
