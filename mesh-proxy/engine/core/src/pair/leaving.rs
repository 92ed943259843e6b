//! The last time of a connection whose other side is gone (docs/decisions/0018): what that side said is delivered, and then the
//! connection is reset. A reset makes the kernel forget what the peer has not acknowledged, so that is waited for. A client that
//! is still sending what nobody takes any more gets a little time: a reset would meet it in the midst of that (RFC 9112 §9.6).

use std::time::{Duration, Instant};

/// How often to look.
pub const LOOK: Duration = Duration::from_millis(100);

/// Whether what is delivered ends as it should: if not, the end must be a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Broken,
    Ended,
}

impl Ending {
    /// A client that has sent nothing for so long is not about to. Where the answer may be a part of one, the client is to learn
    /// that soon.
    fn quiet(self) -> Duration {
        match self {
            Self::Broken => Duration::from_millis(500),
            Self::Ended => Duration::from_secs(5),
        }
    }

    /// The longest time that it gets for it.
    fn longest(self) -> Duration {
        match self {
            Self::Broken => Duration::from_secs(5),
            Self::Ended => Duration::from_secs(30),
        }
    }
}

pub struct Leaving {
    pub side: usize,
    pub ending: Ending,
    /// Whether it may still be sending, and fail at that before it reads: a client that has been answered.
    pub is_sending: bool,
    /// Since when all is acknowledged.
    acknowledged_at: Option<Instant>,
    /// Since when nothing came from it.
    pub quiet_since: Instant,
    progress: (u32, Instant),
    pub next_look: Instant,
}

/// What the kernel says of the connection.
pub struct Sight {
    /// All that is to be delivered has been written, and the direction has been ended where it is to be.
    pub is_written: bool,
    pub unacknowledged: u32,
    /// Nothing more will come from it.
    pub has_ended: bool,
}

impl Leaving {
    pub fn new(side: usize, ending: Ending, is_sending: bool, now: Instant) -> Self {
        let progress = (u32::MAX, now);
        Self { side, ending, is_sending, acknowledged_at: None, quiet_since: now, progress, next_look: now }
    }

    /// Returns whether it is over.
    pub fn look(&mut self, sight: &Sight, now: Instant, stalled: Duration) -> bool {
        self.next_look = now + LOOK;
        if !sight.is_written || sight.unacknowledged > 0 {
            if sight.unacknowledged != self.progress.0 {
                self.progress = (sight.unacknowledged, now);
            }
            return now.duration_since(self.progress.1) >= stalled;
        }
        let acknowledged_at = *self.acknowledged_at.get_or_insert(now);
        if !self.is_sending || sight.has_ended {
            return true;
        }
        let quiet = now.duration_since(self.quiet_since.max(acknowledged_at));
        quiet >= self.ending.quiet() || now.duration_since(acknowledged_at) >= self.ending.longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: Duration = Duration::from_secs(60);

    fn at(is_written: bool, unacknowledged: u32) -> Sight {
        Sight { is_written, unacknowledged, has_ended: false }
    }

    #[test]
    fn what_is_not_acknowledged_is_waited_for_unless_it_stands_still() {
        let begun = Instant::now();
        let mut leaving = Leaving::new(0, Ending::Broken, false, begun);
        for second in 0..200 {
            assert!(!leaving.look(&at(true, 1000 - second), begun + Duration::from_secs(second.into()), STALLED));
        }
        let stood = begun + Duration::from_secs(199);
        assert!(!leaving.look(&at(true, 801), stood + STALLED / 2, STALLED));
        assert!(leaving.look(&at(true, 801), stood + STALLED, STALLED));
    }

    #[test]
    fn who_sends_nothing_any_more_is_reset_when_all_is_acknowledged() {
        let begun = Instant::now();
        assert!(Leaving::new(1, Ending::Broken, false, begun).look(&at(true, 0), begun, STALLED));
    }

    #[test]
    fn a_client_that_sends_gets_a_little_time() {
        let begun = Instant::now();
        let mut leaving = Leaving::new(0, Ending::Ended, true, begun);
        assert!(!leaving.look(&at(true, 0), begun, STALLED));
        for second in 1..30 {
            let now = begun + Duration::from_secs(second);
            leaving.quiet_since = now;
            assert!(!leaving.look(&at(true, 0), now, STALLED), "{second}");
        }
        assert!(leaving.look(&at(true, 0), begun + Duration::from_secs(30), STALLED));
    }
}
