//! TLS of the mesh: who is trusted, what is spoken, and the two sides of a connection. rustls makes handshakes and records.

pub mod certificate;
mod chain;
pub mod channel;
pub mod client;
pub mod credentials;
pub mod facts;
pub mod hello;
pub mod names;
pub mod provider;
mod remembered;
pub mod server;
pub mod verdict;

#[cfg(test)]
mod damaged;
