//! Whether the peer of a handshake is one that may connect, or the one that the rule names; and what the application is told.

use super::{CLIENT, Pair, UPSTREAM};
use crate::code::{Code, Fault};
use crate::net::proxy_header::proxy_header;
use crate::tls::certificate::Certificate;
use crate::tls::names::Name;
use crate::tls::verdict::EXPIRED;
use std::time::SystemTime;

impl Pair {
    pub(super) fn require_identity(&self, tls: usize) -> Result<(), Fault> {
        let der = self.facts.as_ref().and_then(|facts| facts.certificate.as_deref());
        let certificate = der.and_then(Certificate::read);
        let is_resumed = self.facts.as_ref().is_some_and(|facts| facts.is_resumed);
        // The dates are not looked at again when a session is resumed.
        let has_expired = certificate.as_ref().is_some_and(|read| read.not_after < SystemTime::now());
        let (untrusted, other) = match tls {
            CLIENT => (Code::ClientCertificateUntrusted, Code::ClientIdentity),
            _ => (Code::UpstreamUntrusted, Code::UpstreamIdentity),
        };
        if is_resumed && has_expired {
            return Err(Fault::got(untrusted, EXPIRED));
        }
        let is_in = |name: &Name| certificate.as_ref().is_some_and(|read| name.is_in(read));
        let is_meant = match tls {
            CLIENT => self.allowed().is_none_or(|names| names.iter().any(is_in)),
            _ => self.route.pinned.as_ref().is_none_or(is_in),
        };
        if is_meant { Ok(()) } else { Err(Fault::new(other)) }
    }

    fn port(&self) -> u16 {
        self.at.local.map_or(0, |local| local.port())
    }

    fn allowed(&self) -> Option<&[Name]> {
        self.route.settings(self.port()).allowed.as_deref()
    }

    /// Before its first byte, where it expects that.
    pub(super) fn tell_application(&mut self) {
        if !self.route.settings(self.port()).proxy_protocol {
            return;
        }
        let (Some(peer), Some(local)) = (self.at.peer, self.at.local) else { return };
        let header = proxy_header(peer, local, self.facts.as_deref());
        let waiting = &mut self.ends[UPSTREAM].waiting;
        let early = std::mem::take(waiting);
        waiting.push(&header);
        waiting.push(early.bytes());
    }
}
