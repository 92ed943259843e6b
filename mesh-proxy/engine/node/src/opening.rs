//! A route, as JavaScript has it.

use engine_core::Name;
use engine_core::engine::{Listen, Opening as Read};
use engine_core::route::{PortSettings, Secured, Target};
use napi::{Error, Result};
use napi_derive::napi;
use std::net::SocketAddr;

#[napi(object)]
pub struct Opening {
    /// An address with its port, or a socket that listens already.
    pub address: Option<String>,
    pub fd: Option<i32>,
    /// `mutual` and `server` are of the client's side, `upstream` of the other one; `none`: it is passed through.
    pub tls: String,
    pub is_egress: bool,
    /// An address with its port. Where there is none, and no `original`, the program is asked for addresses.
    pub target: Option<String>,
    pub original: Option<Original>,
    /// Of egress: the name or address of the rule.
    pub host: String,
    pub pinned_san: Option<String>,
    pub ports: Vec<Port>,
    pub otherwise: Settings,
}

#[napi(object)]
pub struct Original {
    pub own: Vec<u16>,
    pub only: Option<Vec<u16>>,
}

#[napi(object)]
pub struct Port {
    pub port: u16,
    pub settings: Settings,
}

#[napi(object)]
pub struct Settings {
    pub rule: u32,
    pub allowed_sans: Option<Vec<String>>,
    pub proxy_protocol: bool,
}

/// There are counters for each number up to the highest.
const MOST_RULES: u32 = 65_536;

#[napi(object)]
pub struct Opened {
    pub id: u32,
    pub address: Option<String>,
}

impl Opening {
    pub fn read(self) -> Result<Read> {
        let listen = match (&self.address, self.fd) {
            (_, Some(fd)) => {
                let adopted = engine_kernel::adopt(fd);
                Listen::With(adopted.map_err(|_| Error::from_reason("EBADF"))?)
            }
            (Some(text), None) => Listen::At(address(text)?),
            (None, None) => return Err(Error::from_reason("a route listens nowhere")),
        };
        let secured = match self.tls.as_str() {
            "mutual" => Secured::MutualTls,
            "server" => Secured::ServerTls,
            "upstream" => Secured::UpstreamTls,
            "none" => Secured::Nothing,
            _ => return Err(Error::from_reason("tls is mutual, server, upstream or none")),
        };
        let target = match (&self.target, self.original) {
            (_, Some(Original { own, only })) => {
                Target::Original { own: own.into_iter().collect(), only: only.map(|ports| ports.into_iter().collect()) }
            }
            (Some(text), None) => Target::Address(address(text)?),
            (None, None) => Target::Name,
        };
        let ports = self.ports.into_iter().map(|Port { port, settings }| Ok((port, settings.read()?)));
        Ok(Read {
            listen,
            is_egress: self.is_egress,
            secured,
            target,
            host: self.host,
            pinned: self.pinned_san.as_deref().map(Name::read),
            ports: ports.collect::<Result<_>>()?,
            otherwise: self.otherwise.read()?,
        })
    }
}

impl Settings {
    fn read(self) -> Result<PortSettings> {
        let Self { rule, allowed_sans, proxy_protocol } = self;
        if rule >= MOST_RULES {
            return Err(Error::from_reason("rules are numbered from 0 to 65535"));
        }
        let allowed = allowed_sans.map(|sans| sans.iter().map(|san| Name::read(san)).collect());
        Ok(PortSettings { rule, allowed, proxy_protocol })
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| Error::from_reason(format!("no address with a port: {text}")))
}
