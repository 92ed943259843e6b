//! What a connection is counted for, while it is open and when it has ended.

use super::{CLIENT, Context, Pair, Side, UPSTREAM};
use crate::code::Code;
use crate::counts::Outcome;
use crate::event::{End, Event};
use crate::inbox::Command;
use crate::shared::Shared;
use crate::source::Source;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// What a connection may hold without a word about it: its place has room for that.
const SILENTLY: u64 = 4 * 1024;

impl Pair {
    pub(super) fn tell_held(&mut self, context: &Context<'_>) {
        let buffered: u64 = self.ends.iter().map(|end| end.waiting.len() as u64).sum();
        if buffered != self.buffered {
            self.counts.buffered.fetch_add(buffered.wrapping_sub(self.buffered), Relaxed);
            self.buffered = buffered;
        }
        let held: u64 = self.ends.iter().map(|end| end.waiting.capacity() as u64).sum();
        let held = if held <= SILENTLY { 0 } else { held };
        if held == self.held {
            return;
        }
        self.held = held;
        let victims = context.shared.admission().held_bytes.set(self.id, self.held_for(), held);
        for victim in victims {
            context.shared.tell(victim, Command::Abort(victim, Code::TooManyBytesWaiting));
        }
    }

    /// Whose bytes they are: of egress, everything is the application's, and the upstream is who does not take it.
    pub fn held_for(&self) -> Source {
        if self.route.is_egress { Source::Route(self.route.id) } else { self.source }
    }

    /// Bytes that the kernel holds for it.
    pub fn kernel_memory(&self) -> u64 {
        self.ends
            .iter()
            .filter_map(|end| end.socket.as_ref())
            .map(|socket| engine_kernel::memory_of(&socket.as_fd()))
            .sum()
    }

    /// Gives everything back.
    pub fn close(mut self, shared: &Shared, now: Instant) {
        let outcome = match (&self.fault, self.was_joined) {
            (None, _) => Outcome::Completed,
            (Some(_), false) => Outcome::Refused,
            (Some(_), true) => Outcome::Broken,
        };
        if self.is_aborted {
            self.ends.iter_mut().for_each(Side::reset);
        }
        {
            let mut admission = shared.admission();
            if self.held > 0 {
                admission.held_bytes.release(self.id);
            }
            self.leave_turns(shared, &mut admission, now);
            match self.place {
                Some(place) => admission.leave(place),
                None => admission.leave_egress(self.route.id),
            }
        }
        self.counts.buffered.fetch_sub(self.buffered, Relaxed);
        self.counts.open.fetch_sub(1, Relaxed);
        let code = self.fault.as_ref().map(|fault| fault.code);
        self.counts.end(outcome, code);
        if shared.has_access_log {
            let end = End {
                outcome,
                reason: code.map(Code::text),
                was_joined: self.was_joined,
                up: self.ends[CLIENT].carried,
                down: self.ends[UPSTREAM].carried,
                millis: u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX),
            };
            shared.events.push(Event::Ended { at: self.at, upstream: self.upstream, facts: self.facts.take(), end });
        }
    }
}
