//! TLS handshakes of clients: so many at once, of all and of each source. Who finds no room waits. Sources take turns: one that
//! has many waiting does not delay another that has one.

use super::guests::{Guest, Guests, Place};
use crate::inbox::ConnectionId;
use crate::limits::Share;
use crate::source::Source;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

pub struct Turns {
    limits: Share,
    under_way: Guests,
    places: HashMap<ConnectionId, Place>,
    queues: HashMap<Source, VecDeque<ConnectionId>>,
    /// Sources with somebody waiting, in the order of their turns.
    order: VecDeque<Source>,
    waiting: u64,
}

/// The room may go to others, whose turn comes before.
const MOST_DISPLACED: usize = 8;

impl Turns {
    pub fn new(limits: Share) -> Self {
        let (under_way, places, queues, order) = Default::default();
        Self { limits, under_way, places, queues, order, waiting: 0 }
    }

    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    pub fn inside(&self) -> u64 {
        self.under_way.total()
    }

    pub fn most_of_one_source(&self) -> u64 {
        self.under_way.most()
    }

    fn has_room(&self, source: Source) -> bool {
        self.under_way.total() < self.limits.total && self.under_way.of(source) < self.limits.per_source
    }

    /// Returns whether the handshake may begin; else it waits.
    pub fn enter(&mut self, source: Source, id: ConnectionId, now: Instant) -> bool {
        if self.has_room(source) {
            self.admit(source, id, now);
            return true;
        }
        let queue = self.queues.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue.push_back(id);
        self.waiting += 1;
        false
    }

    fn admit(&mut self, source: Source, id: ConnectionId, now: Instant) {
        let place = self.under_way.add(source, Guest { id, is_pending: true, since: now });
        self.places.insert(id, place);
    }

    /// Ends its handshake, or its waiting. Returns those whose turn it is now.
    pub fn leave(&mut self, source: Source, id: ConnectionId, now: Instant) -> Vec<ConnectionId> {
        if let Some(place) = self.places.remove(&id) {
            self.under_way.remove(place);
        } else if let Some(queue) = self.queues.get_mut(&source) {
            let before = queue.len();
            queue.retain(|&other| other != id);
            self.waiting -= (before - queue.len()) as u64;
            self.forget_if_empty(source);
        }
        self.admit_next(now)
    }

    fn forget_if_empty(&mut self, source: Source) {
        if self.queues.get(&source).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&source);
            self.order.retain(|&other| other != source);
        }
    }

    /// Sources without room of their own are passed over: there are few, for all are inside.
    fn admit_next(&mut self, now: Instant) -> Vec<ConnectionId> {
        let mut admitted = Vec::new();
        while let Some(at) = self.order.iter().position(|&source| self.has_room(source)) {
            let Some(source) = self.order.remove(at) else { break };
            let Some(id) = self.queues.get_mut(&source).and_then(VecDeque::pop_front) else { break };
            self.waiting -= 1;
            // To the end of the turns.
            self.order.push_back(source);
            self.forget_if_empty(source);
            self.admit(source, id, now);
            admitted.push(id);
        }
        admitted
    }

    /// For somebody who waits: others that had their time make room. Returns who is displaced, and whose turn it is now.
    pub fn make_room(
        &mut self,
        source: Source,
        id: ConnectionId,
        now: Instant,
    ) -> (Vec<ConnectionId>, Vec<ConnectionId>) {
        let (mut displaced, mut admitted) = (Vec::new(), Vec::new());
        while displaced.len() < MOST_DISPLACED && !self.places.contains_key(&id) {
            let largest = self.under_way.take_of_largest(source);
            let Some(victim) = largest.or_else(|| self.under_way.take_slowest_of(source, now)) else { break };
            self.places.remove(&victim);
            displaced.push(victim);
            admitted.extend(self.admit_next(now));
        }
        (displaced, admitted)
    }
}
