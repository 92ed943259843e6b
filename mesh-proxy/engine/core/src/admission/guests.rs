//! Who is in, by source, and who has to go where somebody else is to come in (mesh-proxy/streams/limits/guests.ts).

use crate::inbox::ConnectionId;
use crate::source::Source;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// A peer that takes no longer than this to do something is not displaced by another one of its source.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct Guest {
    pub id: ConnectionId,
    /// Whether it waits for its peer to do something: it has not been let through yet.
    pub is_pending: bool,
    pub since: Instant,
}

/// The place of a guest, which it gives back by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub source: Source,
    number: u64,
}

#[derive(Default)]
pub struct Guests {
    /// Of each source in the order in which they came.
    sources: HashMap<Source, BTreeMap<u64, Guest>>,
    total: u64,
    next: u64,
}

impl Guests {
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many of a source are in.
    pub fn of(&self, source: Source) -> u64 {
        self.sources.get(&source).map_or(0, |guests| guests.len() as u64)
    }

    /// Of the source that has most.
    pub fn most(&self) -> u64 {
        self.sources.values().map(|guests| guests.len() as u64).max().unwrap_or(0)
    }

    pub fn add(&mut self, source: Source, guest: Guest) -> Place {
        let number = self.next;
        self.next += 1;
        self.total += 1;
        self.sources.entry(source).or_default().insert(number, guest);
        Place { source, number }
    }

    /// Returns whether it was in.
    pub fn remove(&mut self, place: Place) -> bool {
        let Some(guests) = self.sources.get_mut(&place.source) else { return false };
        let was_in = guests.remove(&place.number).is_some();
        if guests.is_empty() {
            self.sources.remove(&place.source);
        }
        self.total -= u64::from(was_in);
        was_in
    }

    pub fn let_through(&mut self, place: Place) {
        if let Some(guest) = self.sources.get_mut(&place.source).and_then(|guests| guests.get_mut(&place.number)) {
            guest.is_pending = false;
        }
    }

    /// Where there is no place for anybody: one of the source that has most, if that has more than the newcomer's would have.
    /// The one that is pending for longest, and else the last one that was let through.
    pub fn take_of_largest(&mut self, newcomer: Source) -> Option<ConnectionId> {
        let (&source, guests) = self.sources.iter().max_by_key(|(_, guests)| guests.len())?;
        if guests.len() as u64 <= self.of(newcomer) + 1 {
            return None;
        }
        let pending = guests.iter().find(|(_, guest)| guest.is_pending);
        let (&number, guest) = pending.or_else(|| guests.last_key_value())?;
        let id = guest.id;
        self.remove(Place { source, number });
        Some(id)
    }

    /// Where there is no place for the source: that of its guests which is pending for longest, if it had its time.
    pub fn take_slowest_of(&mut self, source: Source, now: Instant) -> Option<ConnectionId> {
        let (&number, guest) = self.sources.get(&source)?.iter().find(|(_, guest)| guest.is_pending)?;
        let id = (now.duration_since(guest.since) >= PATIENCE).then_some(guest.id)?;
        self.remove(Place { source, number });
        Some(id)
    }
}
