//! The data path of the mesh proxy: accepts connections, secures them, dials, carries, and enforces limits that are plain
//! numbers. What is policy or text is the program's, in TypeScript. docs/decisions/0034-native-engine.md says why.

#![forbid(unsafe_code)]

mod admission;
pub mod code;
pub mod counts;
pub mod engine;
pub mod event;
mod inbox;
pub mod limits;
mod net;
mod pair;
pub mod route;
mod shared;
mod shed;
mod source;
mod tls;
mod worker;

pub use tls::credentials::Credentials;
pub use tls::facts::Facts;
pub use tls::names::Name;
pub use tls::provider::gather_entropy;
