//! The TLS handshake of a connection: a client's, when it is its turn, or the one with an upstream.

use super::phases::Moved;
use super::{CLIENT, Context, Pair, Phase, UPSTREAM};
use crate::admission::Admission;
use crate::code::{Code, Fault, errno_name};
use crate::inbox::Command;
use crate::limits::MOST_HANDSHAKE;
use crate::route::Secured;
use crate::shared::Shared;
use crate::tls::channel::{Channel, State};
use crate::tls::facts::Facts;
use crate::tls::hello::{Hello, first_message};
use crate::tls::verdict::{Peer, fault};
use std::time::{Duration, Instant};

/// How often somebody who waits for a turn looks whether others had their time.
const ROOM: Duration = Duration::from_millis(250);

impl Pair {
    pub(super) fn hear(&mut self, context: &mut Context<'_>) -> Moved {
        let Phase::Hello(bytes) = &mut self.phase else { return Ok(false) };
        let Some(socket) = &mut self.ends[CLIENT].socket else { return Ok(false) };
        while socket.is_readable {
            let room = MOST_HANDSHAKE - bytes.len();
            let received = match socket.receive(&mut context.buffers.incoming[..room]) {
                Ok(None) => break,
                Ok(Some(length)) if length > 0 => length,
                _ if bytes.is_empty() => return Err(Fault::new(Code::ClientGone)),
                _ => return Err(Fault::got(Code::TlsHandshake, "ECONNRESET")),
            };
            bytes.extend_from_slice(&context.buffers.incoming[..received]);
            if let Some(message) = first_message(bytes) {
                if message.is_empty() {
                    return Err(Fault::got(Code::TlsHandshake, "no TLS"));
                }
                let said = std::mem::take(bytes);
                return self.ask_for_turn(said, context);
            }
            if bytes.len() >= MOST_HANDSHAKE {
                return Err(Fault::new(Code::HandshakeTooLarge));
            }
        }
        if context.now >= self.deadline { Err(Fault::new(Code::HandshakeTimeout)) } else { Ok(false) }
    }

    fn ask_for_turn(&mut self, said: Vec<u8>, context: &mut Context<'_>) -> Moved {
        self.is_in_turns = true;
        if context.shared.admission().turns.enter(self.source, self.id, context.now) {
            self.begin_server(said, context)?;
        } else {
            let next_look = context.now;
            self.begin(Phase::Queued { said, next_look }, context.now, context.shared.timeouts.handshake);
        }
        Ok(true)
    }

    /// It is its turn.
    pub fn take_turn(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let Phase::Queued { said, .. } = &mut self.phase else { return Ok(()) };
        let said = std::mem::take(said);
        self.begin_server(said, context)
    }

    pub(super) fn queue(&mut self, context: &mut Context<'_>) -> Moved {
        let Phase::Queued { next_look, .. } = &mut self.phase else { return Ok(false) };
        if self.ends[CLIENT].is_gone() {
            return Err(Fault::got(Code::ClientGone, ""));
        }
        if context.now >= self.deadline {
            return Err(Fault::new(Code::TooManyHandshakes));
        }
        if context.now < *next_look {
            return Ok(false);
        }
        *next_look = context.now + ROOM;
        self.due = Some(*next_look);
        let (displaced, admitted) = context.shared.admission().turns.make_room(self.source, self.id, context.now);
        for id in displaced {
            context.shared.tell(id, Command::Abort(id, Code::TooManyHandshakes));
        }
        for id in admitted {
            context.shared.tell(id, Command::Turn(id));
        }
        Ok(false)
    }

    fn begin_server(&mut self, said: Vec<u8>, context: &Context<'_>) -> Result<(), Fault> {
        let hello = Hello::read(&first_message(&said).unwrap_or_default());
        let trust = context.shared.trust().ok_or_else(|| Fault::got(Code::Internal, "no credentials"))?;
        let side = if self.route.secured == Secured::MutualTls { &trust.mutual } else { &trust.server_only };
        let channel = Channel::server(side.settings(&hello)).map_err(|error| fault(&error, Peer::Client))?;
        self.channel = Some(Box::new(channel));
        let phase = Phase::Shaking { begun: context.now, received: said.len(), said, server_name: hello.server_name };
        self.begin(phase, context.now, context.shared.timeouts.handshake);
        Ok(())
    }

    pub(super) fn begin_client(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let trust = context.shared.trust().ok_or_else(|| Fault::got(Code::Internal, "no credentials"))?;
        let side = trust.client(&self.route).and_then(|side| Channel::client(&side));
        self.channel = Some(Box::new(side.map_err(|error| fault(&error, Peer::Upstream))?));
        let phase = Phase::Shaking { begun: context.now, received: 0, said: Vec::new(), server_name: None };
        self.begin(phase, context.now, context.shared.timeouts.upstream);
        self.feed(0, context).map(|_| ())
    }

    pub(super) fn shake(&mut self, context: &mut Context<'_>) -> Moved {
        let Some(tls) = self.tls_end() else { return Ok(false) };
        if tls == UPSTREAM && self.ends[CLIENT].is_gone() {
            return Err(Fault::new(Code::ClientGone));
        }
        self.flush(tls)?;
        let Phase::Shaking { said, .. } = &mut self.phase else { return Ok(false) };
        let mut said = std::mem::take(said);
        loop {
            let kept = self.channel.as_ref().map_or(0, |channel| channel.kept());
            let length = if said.is_empty() {
                match self.read_handshake(tls, kept, context)? {
                    Some(length) => length,
                    None => break,
                }
            } else {
                context.buffers.incoming[kept..kept + said.len()].copy_from_slice(&said);
                std::mem::take(&mut said).len()
            };
            let state = self.feed(kept + length, context)?;
            if state != State::Shaking {
                self.ends[tls].has_ended = state == State::Ended;
                return self.shaken(tls, context);
            }
        }
        if context.now >= self.deadline { Err(Fault::new(Code::HandshakeTimeout)) } else { Ok(false) }
    }

    /// Reads no more than a handshake may take.
    fn read_handshake(&mut self, tls: usize, kept: usize, context: &mut Context<'_>) -> Result<Option<usize>, Fault> {
        let Phase::Shaking { received, .. } = &mut self.phase else { return Ok(None) };
        let Some(socket) = &mut self.ends[tls].socket else { return Ok(None) };
        if !socket.is_readable {
            return Ok(None);
        }
        let room = MOST_HANDSHAKE - *received;
        if room == 0 {
            return Err(Fault::new(Code::HandshakeTooLarge));
        }
        match socket.receive(&mut context.buffers.incoming[kept..kept + room]) {
            Ok(Some(0)) => Err(Fault::got(Code::TlsHandshake, "ECONNRESET")),
            Ok(length) => {
                *received += length.unwrap_or(0);
                Ok(length)
            }
            Err(error) => Err(Fault::got(Code::TlsHandshake, errno_name(error))),
        }
    }

    /// Gives TLS what was read, and the peer what TLS answers. Plain bytes wait for the other end.
    fn feed(&mut self, length: usize, context: &mut Context<'_>) -> Result<State, Fault> {
        let (Some(tls), Some(channel)) = (self.tls_end(), &mut self.channel) else { return Ok(State::Shaking) };
        let buffers = &mut *context.buffers;
        buffers.control.clear();
        buffers.plain.clear();
        let opened = channel.open(&mut buffers.incoming[..length], &mut buffers.control, &mut buffers.plain);
        let peer = if tls == CLIENT { Peer::Client } else { Peer::Upstream };
        let opened = opened.map_err(|error| fault(&error, peer));
        // A client whose certificate is refused believes its handshake done, and is reset without a word.
        if !matches!(&opened, Err(fault) if fault.code == Code::ClientCertificateUntrusted) {
            self.ends[tls].waiting.push(&buffers.control);
            self.ends[tls].is_corked = tls == UPSTREAM && matches!(opened, Ok(State::Open));
            if !self.ends[tls].is_corked {
                self.flush(tls)?;
            }
        }
        let state = opened?;
        if !buffers.plain.is_empty() {
            self.ends[1 - tls].waiting.push(&buffers.plain);
            self.count(tls, buffers.plain.len());
        }
        Ok(state)
    }

    fn flush(&mut self, at: usize) -> Result<(), Fault> {
        let end = &mut self.ends[at];
        let Some(socket) = &mut end.socket else { return Ok(()) };
        end.waiting.flush(socket).map_err(|error| Fault::got(Code::TlsHandshake, errno_name(error)))
    }

    /// The peer is known. It has to be one that may connect, or the one that the rule names.
    fn shaken(&mut self, tls: usize, context: &mut Context<'_>) -> Moved {
        let Phase::Shaking { begun, server_name, .. } = &mut self.phase else { return Ok(false) };
        self.counts.shook(context.now.duration_since(*begun));
        let server_name = server_name.take();
        let Some(channel) = &self.channel else { return Ok(false) };
        self.facts = Some(Box::new(Facts::of(channel.facts(), server_name)));
        {
            let mut admission = context.shared.admission();
            self.leave_turns(context.shared, &mut admission, context.now);
        }
        self.require_identity(tls)?;
        if tls == UPSTREAM {
            return self.join(context);
        }
        self.tell_application();
        self.begin(Phase::Resolving, context.now, context.shared.timeouts.upstream);
        Ok(true)
    }

    pub(super) fn leave_turns(&mut self, shared: &Shared, admission: &mut Admission, now: Instant) {
        if std::mem::take(&mut self.is_in_turns) {
            for id in admission.turns.leave(self.source, self.id, now) {
                shared.tell(id, Command::Turn(id));
            }
        }
    }
}
