//! Where a connection is driven, and by which names events know it.

use crate::shared::Shared;
use crate::tls::channel::{MOST_KEPT, MOST_PLAIN, sealed};
use rustix::fd::OwnedFd;
use std::time::Instant;

/// Of one thread, for all its connections: what is read, opened, sealed and written stands here, and a connection owns only
/// what could not be sent at once.
pub struct Buffers {
    pub incoming: Box<[u8]>,
    pub outgoing: Box<[u8]>,
    pub plain: Vec<u8>,
    pub control: Vec<u8>,
}

/// Bytes that are read at once of somebody who sends much.
pub const BULK: usize = 15 * MOST_PLAIN;

impl Buffers {
    pub fn new() -> Self {
        Self {
            incoming: vec![0; BULK + MOST_KEPT].into(),
            outgoing: vec![0; sealed(BULK)].into(),
            plain: Vec::new(),
            control: Vec::new(),
        }
    }
}

/// Where a pair is driven.
pub struct Context<'a> {
    pub shared: &'a Shared,
    pub epoll: &'a OwnedFd,
    pub buffers: &'a mut Buffers,
    pub now: Instant,
    /// Routes whose addresses are needed for a connection of this thread.
    pub lookups: &'a mut Vec<u32>,
}

/// Of events.
pub mod token {
    pub const CLIENT: u8 = 0;
    pub const UPSTREAM: u8 = 1;
    /// And the numbers of further ones.
    pub const ATTEMPT: u8 = 2;

    pub fn of(index: u32, kind: u8) -> u64 {
        u64::from(index) << 8 | u64::from(kind)
    }

    pub fn read(token: u64) -> (u32, u8) {
        ((token >> 8) as u32, token as u8)
    }
}
