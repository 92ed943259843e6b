//! Why a connection was refused or broke. The texts are those of `MeshProxyCode` (mesh-proxy/faults.ts).

use std::borrow::Cow;

macro_rules! codes {
    ($($name:ident $text:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($name),* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

codes! {
    NotRedirected "not_redirected",
    ClientCertificateMissing "client_certificate_missing",
    ClientCertificateUntrusted "client_certificate_untrusted",
    ClientIdentity "client_identity",
    HandshakeTooLarge "handshake_too_large",
    TlsHandshake "tls_handshake",
    HandshakeTimeout "handshake_timeout",
    UpstreamRefused "upstream_refused",
    UpstreamTimeout "upstream_timeout",
    UpstreamUntrusted "upstream_untrusted",
    UpstreamIdentity "upstream_identity",
    TooManyConnections "too_many_connections",
    TooManyConnectionsOfSource "too_many_connections_of_source",
    TooManyHandshakes "too_many_handshakes",
    TooManyBytesWaiting "too_many_bytes_waiting",
    ClientGone "client_gone",
    TlsAlert "tls_alert",
    ConnectionBroken "connection_broken",
    Internal "internal",
}

/// Why, and what was found in place of what should be.
#[derive(Clone, Debug)]
pub struct Fault {
    pub code: Code,
    pub got: Cow<'static, str>,
}

impl Fault {
    pub fn new(code: Code) -> Self {
        Self { code, got: Cow::Borrowed("") }
    }

    pub fn got(code: Code, got: impl Into<Cow<'static, str>>) -> Self {
        Self { code, got: got.into() }
    }
}

/// The name of an error of the system, as Node has it.
pub fn errno_name(error: rustix::io::Errno) -> Cow<'static, str> {
    use rustix::io::Errno;
    let known = match error {
        Errno::CONNRESET => "ECONNRESET",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNABORTED => "ECONNABORTED",
        Errno::PIPE => "EPIPE",
        Errno::TIMEDOUT => "ETIMEDOUT",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::NETDOWN => "ENETDOWN",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::ADDRINUSE => "EADDRINUSE",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        Errno::INVAL => "EINVAL",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NOMEM => "ENOMEM",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::NOTSOCK => "ENOTSOCK",
        Errno::BADF => "EBADF",
        other => return Cow::Owned(format!("errno {}", other.raw_os_error())),
    };
    Cow::Borrowed(known)
}
