//! Lets connections and handshakes in, as far as the limits allow (mesh-proxy/streams/limits/admission.ts). All threads share it.

mod guests;
mod held;
mod turns;

pub use guests::Place;
use guests::{Guest, Guests};
use held::HeldBytes;
use turns::Turns;

use crate::code::Code;
use crate::inbox::ConnectionId;
use crate::limits::Limits;
use crate::source::Source;
use std::collections::HashMap;
use std::time::Instant;

pub struct Admission {
    limits: Limits,
    ingress: Guests,
    /// Of each egress route: only the application of the pod reaches it.
    egress: HashMap<u32, u64>,
    pub turns: Turns,
    pub held_bytes: HeldBytes,
}

/// An eighth of the places is for sources that have less than a thirty-second part of them.
const RESERVED: u64 = 8;
const FEW: u64 = 32;

/// The place of a connection, and who has to go for it.
pub type Entered = (Result<Place, Code>, Vec<ConnectionId>);

impl Admission {
    pub fn new(limits: Limits) -> Self {
        let (ingress, egress) = Default::default();
        Self {
            limits,
            ingress,
            egress,
            turns: Turns::new(limits.handshakes),
            held_bytes: HeldBytes::new(limits.held_bytes),
        }
    }

    pub fn ingress_inside(&self) -> u64 {
        self.ingress.total()
    }

    pub fn ingress_most(&self) -> u64 {
        self.ingress.most()
    }

    /// How many connections the egress route has that has most.
    pub fn egress_most(&self) -> u64 {
        self.egress.values().copied().max().unwrap_or(0)
    }

    pub fn enter_egress(&mut self, route: u32) -> Result<(), Code> {
        let inside = self.egress.entry(route).or_default();
        if *inside >= self.limits.egress {
            return Err(Code::TooManyConnections);
        }
        *inside += 1;
        Ok(())
    }

    pub fn leave_egress(&mut self, route: u32) {
        if let Some(inside) = self.egress.get_mut(&route) {
            *inside -= 1;
        }
    }

    /// Where there is no place, a guest may have to go: one of the source that has most, for a source that has less, or one
    /// that keeps others of its own source waiting.
    pub fn enter(&mut self, source: Source, id: ConnectionId, now: Instant) -> Entered {
        let mut displaced = Vec::new();
        if self.ingress.total() >= self.places_for(source) {
            match self.ingress.take_of_largest(source) {
                Some(victim) => displaced.push(victim),
                None => return (Err(Code::TooManyConnections), displaced),
            }
        }
        if !self.has_room(source) {
            displaced.extend(self.ingress.take_slowest_of(source, now));
        }
        if self.has_room(source) {
            return (Ok(self.ingress.add(source, Guest { id, is_pending: true, since: now })), displaced);
        }
        let is_full = self.ingress.total() >= self.limits.ingress.total;
        (Err(if is_full { Code::TooManyConnections } else { Code::TooManyConnectionsOfSource }), displaced)
    }

    fn has_room(&self, source: Source) -> bool {
        self.ingress.total() < self.limits.ingress.total && self.ingress.of(source) < self.limits.ingress.per_source
    }

    /// The last places are for sources that have few, so that they seldom displace anybody. Where one source may have most of
    /// all places, nobody else is expected.
    fn places_for(&self, source: Source) -> u64 {
        let (total, per_source) = (self.limits.ingress.total, self.limits.ingress.per_source);
        let has_few = self.ingress.of(source) < (total / FEW).max(1);
        if per_source > total / 2 || has_few { total } else { total - total / RESERVED }
    }

    pub fn let_through(&mut self, place: Place) {
        self.ingress.let_through(place);
    }

    pub fn leave(&mut self, place: Place) {
        self.ingress.remove(place);
    }
}

#[cfg(test)]
mod tests;
