//! What the program is told. Events wait in a ring of bounded length; what finds no room is lost, and counted. Counts of
//! connections are elsewhere, so that nothing is miscounted by that.

use crate::code::Fault;
use crate::counts::Outcome;
use crate::tls::facts::Facts;
use rustix::io::Errno;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a connection came in, and which rule it is about.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub route: u32,
    pub rule: u32,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
}

#[derive(Debug)]
pub enum Event {
    /// A connection was refused, or broke: as soon as it is known.
    Fault { at: At, source: String, fault: Fault, certificate: Option<Vec<u8>> },
    /// Nothing is left of a connection. Only where an access log is kept.
    Ended { at: At, upstream: Option<SocketAddr>, facts: Option<Box<Facts>>, end: End },
    /// New connections of a listener wait, because there are no descriptors for them.
    Paused { route: u32 },
    /// A listener could not accept a connection.
    NotAccepted { route: u32, error: Errno },
}

#[derive(Debug)]
pub struct End {
    pub outcome: Outcome,
    pub reason: Option<&'static str>,
    pub was_joined: bool,
    pub up: u64,
    pub down: u64,
    pub millis: u64,
}

const MOST_EVENTS: usize = 4096;

#[derive(Default)]
pub struct Batch {
    pub events: VecDeque<Event>,
    /// Routes whose upstream's addresses are asked for.
    pub lookups: BTreeSet<u32>,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// The program was told that there is something, and has not taken it yet.
    is_told: bool,
    lost: u64,
}

pub struct Ring {
    state: Mutex<State>,
    tell: Box<dyn Fn() + Send + Sync>,
}

impl Ring {
    /// `tell` is called from any thread when there is something after there was nothing. It must not wait.
    pub fn new(tell: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { state: Mutex::default(), tell }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, event: Event) {
        let mut state = self.state();
        if state.batch.events.len() < MOST_EVENTS {
            state.batch.events.push_back(event);
        } else {
            state.lost += 1;
        }
        self.told(state);
    }

    /// Is never lost: there are no more of them than routes.
    pub fn look_up(&self, route: u32) {
        let mut state = self.state();
        state.batch.lookups.insert(route);
        self.told(state);
    }

    fn told(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::replace(&mut state.is_told, true) {
            return;
        }
        drop(state);
        (self.tell)();
    }

    pub fn take(&self) -> Batch {
        let mut state = self.state();
        state.is_told = false;
        std::mem::take(&mut state.batch)
    }

    pub fn lost(&self) -> u64 {
        self.state().lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_program_is_told_once_and_what_has_no_room_is_counted() {
        let told = Arc::new(AtomicUsize::new(0));
        let counter = told.clone();
        let ring = Ring::new(Box::new(move || void(counter.fetch_add(1, Ordering::Relaxed))));
        for _ in 0..MOST_EVENTS + 3 {
            ring.push(Event::Paused { route: 1 });
        }
        ring.look_up(7);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert_eq!(ring.lost(), 3);
        let Batch { events, lookups } = ring.take();
        assert_eq!((events.len(), lookups), (MOST_EVENTS, BTreeSet::from([7])));
        ring.look_up(7);
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    fn void(_: usize) {}
}
