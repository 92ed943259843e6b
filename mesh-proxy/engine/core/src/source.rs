//! Who a connection is counted for.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    V4([u8; 4]),
    /// A /64, for one host may use all of that.
    V6([u8; 8]),
    /// The application of the pod, by the route that it uses.
    Route(u32),
}

impl Source {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// As `sourceOf` of runtime/source.ts has it; the application is nobody.
impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4([a, b, c, d]) => write!(out, "{a}.{b}.{c}.{d}"),
            Self::V6([a, b, c, d, e, f, g, h]) => {
                let groups = [[a, b], [c, d], [e, f], [g, h]].map(|[high, low]| u16::from_be_bytes([*high, *low]));
                write!(out, "{:x}:{:x}:{:x}:{:x}::/64", groups[0], groups[1], groups[2], groups[3])
            }
            Self::Route(_) => Ok(()),
        }
    }
}

/// Whether nobody outside the pod can have connected to it.
pub fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_network_are_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
    }
}
