//! What is counted of the connections of one rule. All threads count together.

use crate::code::Code;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// As `HANDSHAKE_BOUNDS` of mesh-proxy/observe/metrics.ts, in microseconds.
pub const HANDSHAKE_BOUNDS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both ends ended it.
    Completed,
    /// It was not joined to its upstream.
    Refused,
    /// It broke after that.
    Broken,
}

impl Outcome {
    pub fn text(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Broken => "broken",
        }
    }
}

#[derive(Default)]
pub struct RuleCounts {
    pub open: AtomicU64,
    pub completed: AtomicU64,
    pub refused: AtomicU64,
    pub broken: AtomicU64,
    refusals: [AtomicU64; Code::ALL.len()],
    /// Plain bytes from the client, and to it.
    pub up: AtomicU64,
    pub down: AtomicU64,
    /// Bytes that wait until peers read them.
    pub buffered: AtomicU64,
    handshakes: [AtomicU64; HANDSHAKE_BOUNDS.len() + 1],
    handshake_micros: AtomicU64,
}

impl RuleCounts {
    pub fn end(&self, outcome: Outcome, code: Option<Code>) {
        match outcome {
            Outcome::Completed => &self.completed,
            Outcome::Refused => &self.refused,
            Outcome::Broken => &self.broken,
        }
        .fetch_add(1, Relaxed);
        if let (Outcome::Refused, Some(code)) = (outcome, code) {
            self.refusals[code as usize].fetch_add(1, Relaxed);
        }
    }

    pub fn shook(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = HANDSHAKE_BOUNDS.iter().position(|&bound| micros <= bound).unwrap_or(HANDSHAKE_BOUNDS.len());
        self.handshakes[bucket].fetch_add(1, Relaxed);
        self.handshake_micros.fetch_add(micros, Relaxed);
    }

    /// Those that there were.
    pub fn refusals(&self) -> Vec<(Code, u64)> {
        let counted = Code::ALL.iter().map(|&code| (code, self.refusals[code as usize].load(Relaxed)));
        counted.filter(|&(_, count)| count > 0).collect()
    }

    /// Of each bucket, and the sum in seconds.
    pub fn handshakes(&self) -> (Vec<u64>, f64) {
        let buckets = self.handshakes.iter().map(|bucket| bucket.load(Relaxed)).collect();
        (buckets, self.handshake_micros.load(Relaxed) as f64 / 1e6)
    }
}
