//! How much peers may use: plain numbers, which the program computes (mesh-proxy/limits/limits.ts).

use std::time::Duration;

/// Of something that sources share.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub total: u64,
    pub per_source: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections from outside.
    pub ingress: Share,
    /// Open connections of each egress route.
    pub egress: u64,
    /// TLS handshakes of clients under way; all others wait.
    pub handshakes: Share,
    /// Bytes that wait for peers to take them.
    pub held_bytes: Share,
    /// From this number on a descriptor is one of those that are kept free.
    pub descriptors: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a client to begin, then for its turn, and then for its handshake.
    pub handshake: Duration,
    /// For an upstream to be connected, and then for the handshake with it.
    pub upstream: Duration,
    /// What a peer said before it went away is given up when the other one takes none of it for so long.
    pub stalled: Duration,
}

/// RFC 8305 §8: the Connection Attempt Delay.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What a peer may send until its handshake is done. A chain of the mesh has at most 9 KiB; the rest takes less than 3.
pub const MOST_HANDSHAKE: usize = 12 * 1024;

/// Of the mesh has two. What is longer is refused before a signature is checked.
pub const MOST_CERTIFICATES: usize = 8;
