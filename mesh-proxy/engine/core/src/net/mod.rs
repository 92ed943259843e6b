//! Sockets: TCP on epoll, listeners, attempts to connect, and what an application is told of a client.

pub mod dial;
pub mod listen;
pub mod proxy_header;
pub mod socket;
