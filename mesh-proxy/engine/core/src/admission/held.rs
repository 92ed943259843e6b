//! The bytes that wait for peers to take them (mesh-proxy/streams/limits/held-bytes.ts). Where those of a source, or all of them, are
//! more than they may be, connections are reset: of the source that has most, that which holds most, and of several that which
//! has waited for longest.

use crate::inbox::ConnectionId;
use crate::limits::Share;
use crate::source::Source;
use std::collections::HashMap;

pub struct HeldBytes {
    limits: Share,
    used: u64,
    sources: HashMap<Source, u64>,
    holders: HashMap<ConnectionId, Holding>,
    next: u64,
}

#[derive(Clone, Copy)]
struct Holding {
    source: Source,
    bytes: u64,
    /// The order in which they began to wait.
    number: u64,
}

/// Several connections that hold as much as they may.
const LITTLE_ROOM: u64 = 4 * 384 * 1024;

impl HeldBytes {
    pub fn new(limits: Share) -> Self {
        Self { limits, used: 0, sources: HashMap::new(), holders: HashMap::new(), next: 0 }
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    pub fn most_of_one_source(&self) -> u64 {
        self.sources.values().copied().max().unwrap_or(0)
    }

    /// Whether connections of this source are to hold less than others: half of what it or all may hold is taken.
    pub fn is_short_for(&self, source: Source) -> bool {
        let own = self.sources.get(&source).copied().unwrap_or(0);
        self.limits.per_source < LITTLE_ROOM || self.used > self.limits.total / 2 || own > self.limits.per_source / 2
    }

    /// Says how many bytes a connection holds from now on. Returns those that have to be reset for it, which may be itself.
    pub fn set(&mut self, id: ConnectionId, source: Source, bytes: u64) -> Vec<ConnectionId> {
        let number = self.holders.get(&id).map_or(self.next, |holding| holding.number);
        self.next += 1;
        self.release(id);
        if bytes == 0 {
            return Vec::new();
        }
        self.used += bytes;
        *self.sources.entry(source).or_default() += bytes;
        self.holders.insert(id, Holding { source, bytes, number });
        let mut victims = Vec::new();
        while let Some(victim) = self.victim(source) {
            self.release(victim);
            victims.push(victim);
        }
        victims
    }

    pub fn release(&mut self, id: ConnectionId) {
        let Some(Holding { source, bytes, .. }) = self.holders.remove(&id) else { return };
        self.used -= bytes;
        if let Some(own) = self.sources.get_mut(&source) {
            *own -= bytes;
            if *own == 0 {
                self.sources.remove(&source);
            }
        }
    }

    fn victim(&self, asking: Source) -> Option<ConnectionId> {
        let own = self.sources.get(&asking).copied().unwrap_or(0);
        let source = if own > self.limits.per_source {
            asking
        } else if self.used > self.limits.total {
            *self.sources.iter().max_by_key(|(_, bytes)| **bytes)?.0
        } else {
            return None;
        };
        let of_source = self.holders.iter().filter(|(_, holding)| holding.source == source);
        of_source.max_by_key(|(_, holding)| (holding.bytes, u64::MAX - holding.number)).map(|(&id, _)| id)
    }
}
