//! One place that connections come in at, and what is done with them.

use crate::counts::RuleCounts;
use crate::tls::names::Name;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secured {
    /// The client's side is TLS, and a certificate of the mesh is required.
    MutualTls,
    /// The client's side is TLS, and no certificate is asked for.
    ServerTls,
    /// The upstream's side is TLS (egress).
    UpstreamTls,
    /// It is passed through.
    Nothing,
}

impl Secured {
    pub fn is_of_client(self) -> bool {
        matches!(self, Self::MutualTls | Self::ServerTls)
    }
}

#[derive(Clone, Debug)]
pub enum Target {
    Address(SocketAddr),
    /// The program knows the addresses; it is asked for each connection.
    Name,
    /// Where the client wanted to go: the connection's own local address (IP_TRANSPARENT of ip(7)).
    Original {
        /// Ports that don't belong here: the proxy's own.
        own: HashSet<u16>,
        /// Those that do; none: all others.
        only: Option<HashSet<u16>>,
    },
}

/// What is different from port to port of the application.
#[derive(Clone, Debug, Default)]
pub struct PortSettings {
    /// The number of the rule that counts.
    pub rule: u32,
    /// Names of which the client must carry one; none: the whole mesh.
    pub allowed: Option<Vec<Name>>,
    /// Whether the application expects the PROXY protocol.
    pub proxy_protocol: bool,
}

pub struct Route {
    pub id: u32,
    pub is_egress: bool,
    pub secured: Secured,
    pub target: Target,
    /// Of egress: what the rule names, for SNI.
    pub host: String,
    /// Of egress: what the upstream's certificate must carry; none: any certificate of the mesh will do.
    pub pinned: Option<Name>,
    pub ports: HashMap<u16, PortSettings>,
    /// Of ports that have none of their own.
    pub otherwise: PortSettings,
}

impl Route {
    pub fn settings(&self, port: u16) -> &PortSettings {
        self.ports.get(&port).unwrap_or(&self.otherwise)
    }
}

/// The counts of all rules, by their numbers.
pub type Rules = Vec<Arc<RuleCounts>>;
