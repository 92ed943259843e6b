//! How the two directions of a connection end, each by itself, and how one that breaks takes the other with it.

use super::leaving::{Ending, Leaving, Sight};
use super::{CLIENT, Context, Pair, UPSTREAM};
use crate::code::{Code, Fault, errno_name};
use crate::net::socket::probe_sooner;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// The kernel of a client that closed answers no more probes after a minute. Most connections don't live as long.
const PROBE: Duration = Duration::from_secs(2);

/// A client that has said all it had to say, and is gone: so long the other end may take to do the same. What it says instead
/// is lost, and then it was no clean end.
const GRACE: Duration = Duration::from_millis(500);

/// Why an end broke.
pub(super) enum Break {
    System(Errno),
    Tls(String),
    /// The end of TCP without the peer's closing alert (RFC 8446 §6.1): who controls the network can send a FIN at any time.
    Cut,
}

impl Break {
    fn fault(self) -> Fault {
        match self {
            Self::System(error) => Fault::got(Code::ConnectionBroken, errno_name(error)),
            Self::Tls(what) => Fault::got(Code::TlsAlert, what),
            Self::Cut => Fault::got(Code::ConnectionBroken, "TCP ended without close_notify"),
        }
    }
}

impl Pair {
    /// Nothing more comes from it.
    pub(super) fn over(&mut self, from: usize, context: &mut Context<'_>) {
        // The kernel tells of a reset once. Who wrote has been told, and who reads is told of an end that was none; but of a
        // reset that came after the peer's FIN Linux says EPIPE (tcp_reset in net/ipv4/tcp_input.c).
        let refusal = self.ends[from].refusal;
        if let Some(error) = refusal.filter(|&error| error != Errno::PIPE) {
            return self.broke(from, Break::System(error), context);
        }
        self.ends[from].has_ended = true;
        self.half_ended_at.get_or_insert(context.now);
        if let Some(error) = refusal {
            self.broke(from, Break::System(error), context);
        }
    }

    /// It takes nothing more. What it said is read to the end all the same.
    pub(super) fn refused(&mut self, to: usize, error: Errno, context: &mut Context<'_>) {
        let other = 1 - to;
        if !self.ends[to].takes() {
            return;
        }
        if self.ends[to].is_closing && self.ends[to].has_ended {
            // It has all but the word that nothing more comes, and has gone without it.
            self.ends[to].waiting.clear();
            self.ends[to].is_shut = true;
            return;
        }
        self.ends[to].refusal = Some(error);
        self.ends[to].waiting.clear();
        self.ends[other].is_dropping = true;
        if let Some(socket) = &mut self.ends[to].socket {
            socket.is_readable = true;
        }
        if self.ends[to].has_ended || self.ends[other].is_broken {
            self.broke(to, Break::System(error), context);
        }
    }

    pub(super) fn broke(&mut self, side: usize, why: Break, context: &mut Context<'_>) {
        if self.ends[side].is_broken {
            return;
        }
        let other = 1 - side;
        let has_ended = self.ends[side].has_ended;
        if let (Break::Tls(_), Some(socket)) = (&why, &mut self.ends[side].socket) {
            // The alert, as far as it goes.
            let _ = self.ends[side].waiting.flush(socket);
        }
        self.ends[side].is_broken = true;
        self.ends[side].reset();
        self.ends[other].is_dropping = true;
        self.say(why.fault(), context.shared);
        if self.ends[other].is_broken {
            return;
        }
        if let Some(error) = self.ends[other].refusal {
            return self.broke(other, Break::System(error), context);
        }
        let ending = if has_ended { Ending::Ended } else { Ending::Broken };
        let is_sending = other == CLIENT && self.ends[UPSTREAM].carried > 0;
        self.leaving = Some(Leaving::new(other, ending, is_sending, context.now));
    }

    /// Tells an end that nothing more comes, when all that the other one said is written.
    pub(super) fn finish(&mut self, to: usize, context: &mut Context<'_>) {
        if !self.ends[1 - to].has_ended || self.ends[to].is_shut || !self.ends[to].takes() {
            return;
        }
        if self.ends[to].waiting.len() > 0 {
            return;
        }
        if self.ends[to].has_left() {
            self.ends[to].is_shut = true;
            return;
        }
        if !std::mem::replace(&mut self.ends[to].is_closing, true) && self.tls_end() == Some(to) {
            let mut alert = Vec::new();
            match self.channel.as_mut().map(|channel| channel.close(&mut alert)) {
                Some(Err(error)) => return self.broke(to, Break::Tls(error.to_string()), context),
                _ => self.write_last(to, &alert, context),
            }
        }
        let end = &mut self.ends[to];
        let Some(socket) = &end.socket else { return };
        if end.waiting.len() > 0 || end.is_shut {
            return;
        }
        match socket.end() {
            Ok(()) => end.is_shut = true,
            Err(error) => self.refused(to, error, context),
        }
    }

    /// At what no event tells, or only once.
    pub(super) fn look(&mut self, context: &mut Context<'_>) {
        for side in [CLIENT, UPSTREAM] {
            let end = &self.ends[side];
            if end.has_left() {
                let since = *self.left_at.get_or_insert(context.now);
                if end.waiting.len() > 0 || context.now.duration_since(since) >= GRACE {
                    self.broke(side, Break::System(Errno::CONNRESET), context);
                }
            }
        }
        if self.leaving.is_some() {
            self.look_at_leaving(context);
        } else {
            self.look_at_stalled(context);
            self.probe_sooner(context.now);
        }
    }

    fn look_at_leaving(&mut self, context: &Context<'_>) {
        let Some(leaving) = &mut self.leaving else { return };
        let end = &mut self.ends[leaving.side];
        let is_written = match leaving.ending {
            Ending::Ended => end.is_shut,
            Ending::Broken => end.waiting.len() == 0,
        };
        let unacknowledged = end.socket.as_ref().map_or(Ok(0), |socket| engine_kernel::unacknowledged(&socket.as_fd()));
        let sight = match unacknowledged {
            Ok(unacknowledged) if !end.is_gone() => Sight { is_written, unacknowledged, has_ended: end.has_ended },
            // There is no connection any more.
            _ => Sight { is_written: true, unacknowledged: 0, has_ended: true },
        };
        if leaving.look(&sight, context.now, context.shared.timeouts.stalled) {
            end.is_broken = true;
            end.reset();
        }
    }

    /// What a peer said before it went away waits in the kernel, and is read as soon as the other one takes it.
    fn look_at_stalled(&mut self, context: &mut Context<'_>) {
        let Some(side) = [CLIENT, UPSTREAM].into_iter().find(|&side| self.is_stalled(side)) else {
            self.stalled = None;
            return;
        };
        let carried = self.ends[side].carried;
        let since = self.stalled.filter(|&(before, _)| before == carried).map_or(context.now, |(_, since)| since);
        self.stalled = Some((carried, since));
        if context.now.duration_since(since) >= context.shared.timeouts.stalled {
            for end in &mut self.ends {
                end.is_broken = true;
                end.reset();
            }
            self.say(Break::System(Errno::CONNRESET).fault(), context.shared);
        }
    }

    fn is_stalled(&self, side: usize) -> bool {
        let end = &self.ends[side];
        end.is_gone() && !end.has_ended && !end.is_broken && self.ends[1 - side].waiting.len() > 0
    }

    fn probe_sooner(&mut self, now: Instant) {
        if self.half_ended_at.is_none_or(|at| now.duration_since(at) < PROBE) {
            return;
        }
        for end in &mut self.ends {
            if let Some(socket) = &end.socket
                && end.has_ended
                && !end.is_shut
                && !std::mem::replace(&mut end.is_probed_sooner, true)
            {
                probe_sooner(socket.as_fd());
            }
        }
    }

    pub(super) fn set_due(&mut self, now: Instant) {
        let is_to_probe = self.ends.iter().any(|end| end.has_ended && !end.is_shut && !end.is_probed_sooner);
        self.due = if let Some(leaving) = &self.leaving {
            Some(leaving.next_look)
        } else if let Some(at) = self.left_at {
            Some(at + GRACE)
        } else if self.stalled.is_some() {
            Some(now + Duration::from_secs(1))
        } else {
            self.half_ended_at.filter(|_| is_to_probe).map(|at| at + PROBE)
        };
    }
}
