//! Carries the bytes of a connection from when both of its ends are there. What comes in at one end goes out at the other,
//! unchanged and in order. Each direction ends by itself, after its last byte. Of an end that breaks, the other one is reset,
//! after all that the broken one had said. An end that takes nothing more is not broken while it has something to say.

use super::leaving::{Ending, Leaving, Sight};
use super::{BULK, CLIENT, Context, Next, Pair, UPSTREAM};
use crate::code::{Code, Fault, errno_name};
use crate::net::socket::probe_sooner;
use crate::tls::channel::{MOST_PLAIN, State};
use rustix::io::Errno;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How much is read at once while much waits, of others of the source or of all.
const LITTLE: usize = 4 * 1024;

/// The kernel of a client that closed answers no more probes after a minute. Most connections don't live as long.
const PROBE: Duration = Duration::from_secs(2);

/// A client that has said all it had to say, and is gone: so long the other end may take to do the same. What it says instead
/// is lost, and then it was no clean end.
const GRACE: Duration = Duration::from_millis(500);

/// Why an end broke.
enum Break {
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
    pub(super) fn carry(&mut self, context: &mut Context<'_>) -> Next {
        for side in [CLIENT, UPSTREAM] {
            self.flush_open(side, context);
            if self.may_read(side) {
                self.read(side, context);
            }
        }
        for side in [CLIENT, UPSTREAM] {
            self.finish(side, context);
        }
        self.look(context);
        if self.is_over() {
            return Next::Done;
        }
        self.set_due(context.now);
        if self.may_read(CLIENT) || self.may_read(UPSTREAM) { Next::Again } else { Next::Wait }
    }

    fn is_over(&self) -> bool {
        let [client, upstream] = &self.ends;
        (client.is_broken && upstream.is_broken)
            || (client.is_shut && upstream.is_shut && client.has_ended && upstream.has_ended)
    }

    fn may_read(&self, from: usize) -> bool {
        let (end, other) = (&self.ends[from], &self.ends[1 - from]);
        let is_readable = end.socket.as_ref().is_some_and(|socket| socket.is_readable);
        is_readable && !end.has_ended && !end.is_broken && (end.is_dropping || other.waiting.len() == 0)
    }

    fn flush_open(&mut self, to: usize, context: &mut Context<'_>) {
        let end = &mut self.ends[to];
        let Some(socket) = &mut end.socket else { return };
        if let Err(error) = end.waiting.flush(socket) {
            self.refused(to, error, context);
        }
    }

    fn read(&mut self, from: usize, context: &mut Context<'_>) {
        if self.ends[from].is_dropping {
            return self.forget(from, context);
        }
        let most = self.most(from, context);
        let kept = self.kept(from);
        let Some(socket) = &mut self.ends[from].socket else { return };
        match socket.receive(&mut context.buffers.incoming[kept..kept + most]) {
            Ok(None) => {}
            Ok(Some(0)) if self.tls_end() == Some(from) => self.broke(from, Break::Cut, context),
            Ok(Some(0)) => self.over(from, context),
            Ok(Some(length)) => {
                let before = self.ends[from].carried;
                self.pass_on(from, kept + length, context);
                // Records of a few bytes cost more than those that are full: less of them is read in one turn.
                let is_full = (self.ends[from].carried - before) as usize >= length / 2;
                self.ends[from].is_bulk = is_full && length >= most.min(MOST_PLAIN);
            }
            Err(error) => self.broke(from, Break::System(error), context),
        }
    }

    fn kept(&self, from: usize) -> usize {
        let is_tls = self.tls_end() == Some(from);
        self.channel.as_ref().filter(|_| is_tls).map_or(0, |channel| channel.kept())
    }

    fn most(&self, from: usize, context: &Context<'_>) -> usize {
        // Asked only of those that hold something already, for the answer costs a lock.
        if self.held > 0 && context.shared.admission().held_bytes.is_short_for(self.held_for()) {
            LITTLE
        } else if self.ends[from].is_bulk {
            BULK
        } else {
            MOST_PLAIN
        }
    }

    /// What nobody takes any more, or nobody could tell what for.
    fn forget(&mut self, from: usize, context: &mut Context<'_>) {
        let Some(socket) = &mut self.ends[from].socket else { return };
        match socket.receive(&mut context.buffers.incoming[..BULK]) {
            Ok(None) => {}
            Ok(Some(0)) => self.over(from, context),
            Ok(Some(_)) => {
                if let Some(leaving) = &mut self.leaving {
                    leaving.quiet_since = context.now;
                }
            }
            Err(error) => self.broke(from, Break::System(error), context),
        }
    }

    fn pass_on(&mut self, from: usize, length: usize, context: &mut Context<'_>) {
        let tls = self.tls_end();
        if tls != Some(from) {
            self.count(from, length);
            return if tls.is_some() {
                self.seal(from, length, context)
            } else {
                self.write_incoming(from, length, context)
            };
        }
        let Some(channel) = &mut self.channel else { return };
        let buffers = &mut *context.buffers;
        buffers.control.clear();
        buffers.plain.clear();
        let opened = channel.open(&mut buffers.incoming[..length], &mut buffers.control, &mut buffers.plain);
        let (control, plain) = (std::mem::take(&mut buffers.control), std::mem::take(&mut buffers.plain));
        self.count(from, plain.len());
        self.write(from, &control, context);
        self.write(1 - from, &plain, context);
        (context.buffers.control, context.buffers.plain) = (control, plain);
        match opened {
            Ok(State::Ended) => self.over(from, context),
            Ok(_) => {}
            Err(error) => self.broke(from, Break::Tls(error.to_string()), context),
        }
    }

    fn seal(&mut self, from: usize, length: usize, context: &mut Context<'_>) {
        let Some(channel) = &mut self.channel else { return };
        let buffers = &mut *context.buffers;
        buffers.control.clear();
        match channel.seal(&buffers.incoming[..length], &mut buffers.outgoing, &mut buffers.control) {
            Ok(sealed) => {
                let control = std::mem::take(&mut buffers.control);
                let outgoing = std::mem::take(&mut buffers.outgoing);
                self.write(1 - from, &control, context);
                self.write(1 - from, &outgoing[..sealed], context);
                (context.buffers.control, context.buffers.outgoing) = (control, outgoing);
            }
            Err(error) => self.broke(1 - from, Break::Tls(error.to_string()), context),
        }
    }

    fn write_incoming(&mut self, from: usize, length: usize, context: &mut Context<'_>) {
        let incoming = std::mem::take(&mut context.buffers.incoming);
        self.write(1 - from, &incoming[..length], context);
        context.buffers.incoming = incoming;
    }

    pub(super) fn count(&mut self, from: usize, length: usize) {
        self.ends[from].carried += length as u64;
        let total = if from == CLIENT { &self.counts.up } else { &self.counts.down };
        total.fetch_add(length as u64, Relaxed);
    }

    /// What can't be sent now waits.
    fn write(&mut self, to: usize, bytes: &[u8], context: &mut Context<'_>) {
        let end = &mut self.ends[to];
        if bytes.is_empty() || !end.takes() {
            return;
        }
        let Some(socket) = &mut end.socket else { return };
        let sent = if end.waiting.len() == 0 && socket.is_writable { socket.send(bytes) } else { Ok(0) };
        match sent {
            Ok(sent) if sent < bytes.len() => end.waiting.push(&bytes[sent..]),
            Ok(_) => {}
            Err(error) => self.refused(to, error, context),
        }
    }

    /// Nothing more comes from it.
    fn over(&mut self, from: usize, context: &mut Context<'_>) {
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
    fn refused(&mut self, to: usize, error: Errno, context: &mut Context<'_>) {
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

    fn broke(&mut self, side: usize, why: Break, context: &mut Context<'_>) {
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
    fn finish(&mut self, to: usize, context: &mut Context<'_>) {
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
                _ => self.write(to, &alert, context),
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
    fn look(&mut self, context: &mut Context<'_>) {
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

    fn set_due(&mut self, now: Instant) {
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
