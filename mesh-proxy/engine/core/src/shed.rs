//! Resets connections before the kernel's memory for sockets is gone: of the source for whose connections the kernel holds most,
//! that for which it holds most. What the engine itself holds has limits of its own; what the kernel holds nobody asks before.

use crate::inbox::ConnectionId;
use crate::source::Source;
use std::collections::HashMap;

/// Of less there is no use in resetting a connection.
const LITTLE: u64 = 64 * 1024;

/// What the kernel holds for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    pub id: ConnectionId,
    pub source: Source,
    pub bytes: u64,
}

/// The weights of all threads, until the last one has told its own.
#[derive(Default)]
pub struct Weighing {
    excess: u64,
    threads_left: usize,
    weights: Vec<Weight>,
}

impl Weighing {
    /// Returns whether the threads are to be asked; if not, they are still being asked.
    pub fn begin(&mut self, excess: u64, threads: usize) -> bool {
        if self.threads_left > 0 {
            return false;
        }
        *self = Self { excess, threads_left: threads, weights: Vec::new() };
        true
    }

    /// Takes what a thread tells. Returns who has to go, when all have told.
    pub fn add(&mut self, weights: impl Iterator<Item = Weight>) -> Vec<ConnectionId> {
        self.weights.extend(weights);
        self.threads_left = self.threads_left.saturating_sub(1);
        if self.threads_left > 0 { Vec::new() } else { victims(std::mem::take(&mut self.weights), self.excess) }
    }
}

fn victims(mut weights: Vec<Weight>, mut excess: u64) -> Vec<ConnectionId> {
    weights.sort_unstable_by_key(|weight| weight.bytes);
    let mut sources: HashMap<Source, (u64, Vec<Weight>)> = HashMap::new();
    for weight in weights {
        let (sum, of_source) = sources.entry(weight.source).or_default();
        *sum += weight.bytes;
        of_source.push(weight);
    }
    let mut victims = Vec::new();
    while excess > 0 {
        let Some((sum, of_source)) = sources.values_mut().max_by_key(|(sum, _)| *sum) else { break };
        let Some(heaviest) = of_source.pop().filter(|weight| weight.bytes >= LITTLE) else { break };
        *sum -= heaviest.bytes;
        excess = excess.saturating_sub(heaviest.bytes);
        victims.push(heaviest.id);
    }
    victims
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn weight(serial: u64, last: u8, bytes: u64) -> Weight {
        Weight { id: ConnectionId { thread: 0, index: 0, serial }, source: Source::V4([192, 0, 2, last]), bytes }
    }

    fn serials(victims: &[ConnectionId]) -> Vec<u64> {
        victims.iter().map(|id| id.serial).collect()
    }

    #[test]
    fn the_heaviest_of_the_heaviest_source_goes_first() {
        let mut weighing = Weighing::default();
        assert!(weighing.begin(5 * MIB, 2));
        assert!(!weighing.begin(5 * MIB, 2));
        assert!(weighing.add([weight(1, 1, 4 * MIB), weight(2, 2, 3 * MIB)].into_iter()).is_empty());
        // The second source has most together; then the first one has.
        let gone = weighing.add([weight(3, 2, 2 * MIB)].into_iter());
        assert_eq!(serials(&gone), [2, 1]);
        assert!(weighing.begin(MIB, 1));
    }

    #[test]
    fn what_is_little_stays() {
        let mut weighing = Weighing::default();
        weighing.begin(MIB, 1);
        assert!(weighing.add([weight(1, 1, LITTLE - 1)].into_iter()).is_empty());
    }
}
