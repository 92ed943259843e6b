//! Carries the bytes of a connection from when both of its ends are there. What comes in at one end goes out at the other,
//! unchanged and in order. Each direction ends by itself, after its last byte. Of an end that breaks, the other one is reset,
//! after all that the broken one had said. An end that takes nothing more is not broken while it has something to say.

use super::ending::Break;
use super::{BULK, CLIENT, Context, Next, Pair, UPSTREAM};
use crate::net::socket::Socket;
use crate::tls::channel::{MOST_PLAIN, State};
use rustix::io::Errno;
use std::sync::atomic::Ordering::Relaxed;

/// How much is read at once while much waits, of others of the source or of all.
const LITTLE: usize = 4 * 1024;

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
        is_readable
            && !end.has_ended
            && !end.is_broken
            && (end.is_dropping || other.waiting.len() == 0 || other.is_corked)
    }

    fn flush_open(&mut self, to: usize, context: &mut Context<'_>) {
        let end = &mut self.ends[to];
        end.is_corked = false;
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
    pub(super) fn write(&mut self, to: usize, bytes: &[u8], context: &mut Context<'_>) {
        self.write_by(Socket::send, to, bytes, context);
    }

    /// The direction is ended at once where nothing waits.
    pub(super) fn write_last(&mut self, to: usize, bytes: &[u8], context: &mut Context<'_>) {
        self.write_by(Socket::send_last, to, bytes, context);
    }

    fn write_by(
        &mut self,
        send: fn(&mut Socket, &[u8]) -> Result<usize, Errno>,
        to: usize,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) {
        let end = &mut self.ends[to];
        if bytes.is_empty() || !end.takes() {
            return;
        }
        let Some(socket) = &mut end.socket else { return };
        let sent = if end.waiting.len() == 0 && socket.is_writable { send(socket, bytes) } else { Ok(0) };
        match sent {
            Ok(sent) if sent < bytes.len() => end.waiting.push(&bytes[sent..]),
            Ok(_) => {}
            Err(error) => self.refused(to, error, context),
        }
    }
}
