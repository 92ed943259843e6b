//! The way of a connection until it is carried: its client's handshake, its upstream, and the handshake with that.

use super::{BULK, CLIENT, Context, Pair, Phase, UPSTREAM, token};
use crate::admission::Admission;
use crate::code::{Code, Fault, errno_name};
use crate::inbox::Command;
use crate::limits::MOST_HANDSHAKE;
use crate::net::dial::{Dial, Progress};
use crate::net::proxy_header::proxy_header;
use crate::route::{Secured, Target};
use crate::shared::Shared;
use crate::source::is_loopback;
use crate::tls::certificate::Certificate;
use crate::tls::channel::{Channel, State};
use crate::tls::facts::Facts;
use crate::tls::hello::{Hello, first_message};
use crate::tls::verdict::{EXPIRED, Peer, fault};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// How often somebody who waits for a turn looks whether others had their time.
const ROOM: Duration = Duration::from_millis(250);

/// Whether another phase has begun.
type Moved = Result<bool, Fault>;

impl Pair {
    pub(super) fn advance(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(fault) = self.aborted.take() {
            return Err(fault);
        }
        loop {
            let has_moved = match &self.phase {
                Phase::Hello(_) => self.hear(context)?,
                Phase::Queued { .. } => self.queue(context)?,
                Phase::Shaking { .. } => self.shake(context)?,
                Phase::Resolving => self.resolve(context)?,
                Phase::Dialing(_) => self.dial(context)?,
                Phase::Open => return Ok(()),
            };
            if !has_moved {
                return Ok(());
            }
        }
    }

    fn begin(&mut self, phase: Phase, now: Instant, timeout: Duration) {
        self.phase = phase;
        self.deadline = now + timeout;
        self.due = Some(self.deadline);
    }

    fn hear(&mut self, context: &mut Context<'_>) -> Moved {
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

    fn queue(&mut self, context: &mut Context<'_>) -> Moved {
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

    fn begin_client(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let trust = context.shared.trust().ok_or_else(|| Fault::got(Code::Internal, "no credentials"))?;
        let side = trust.client(&self.route).and_then(|side| Channel::client(&side));
        self.channel = Some(Box::new(side.map_err(|error| fault(&error, Peer::Upstream))?));
        let phase = Phase::Shaking { begun: context.now, received: 0, said: Vec::new(), server_name: None };
        self.begin(phase, context.now, context.shared.timeouts.upstream);
        self.feed(0, context).map(|_| ())
    }

    fn shake(&mut self, context: &mut Context<'_>) -> Moved {
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
            self.flush(tls)?;
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

    fn require_identity(&self, tls: usize) -> Result<(), Fault> {
        let der = self.facts.as_ref().and_then(|facts| facts.certificate.as_deref());
        let certificate = der.and_then(Certificate::read);
        let is_resumed = self.facts.as_ref().is_some_and(|facts| facts.is_resumed);
        // The dates are not looked at again when a session is resumed.
        let has_expired = certificate.as_ref().is_some_and(|read| read.not_after < SystemTime::now());
        let (untrusted, other) = match tls {
            CLIENT => (Code::ClientCertificateUntrusted, Code::ClientIdentity),
            _ => (Code::UpstreamUntrusted, Code::UpstreamIdentity),
        };
        if is_resumed && has_expired {
            return Err(Fault::got(untrusted, EXPIRED));
        }
        let is_in = |name: &crate::tls::names::Name| certificate.as_ref().is_some_and(|read| name.is_in(read));
        let is_meant = match tls {
            CLIENT => self.allowed().is_none_or(|names| names.iter().any(is_in)),
            _ => self.route.pinned.as_ref().is_none_or(is_in),
        };
        if is_meant { Ok(()) } else { Err(Fault::new(other)) }
    }

    fn port(&self) -> u16 {
        self.at.local.map_or(0, |local| local.port())
    }

    fn allowed(&self) -> Option<&[crate::tls::names::Name]> {
        self.route.settings(self.port()).allowed.as_deref()
    }

    /// Before its first byte, where it expects that.
    fn tell_application(&mut self) {
        if !self.route.settings(self.port()).proxy_protocol {
            return;
        }
        let (Some(peer), Some(local)) = (self.at.peer, self.at.local) else { return };
        let header = proxy_header(peer, local, self.facts.as_deref());
        let waiting = &mut self.ends[UPSTREAM].waiting;
        let early = std::mem::take(waiting);
        waiting.push(&header);
        waiting.push(early.bytes());
    }

    fn resolve(&mut self, context: &mut Context<'_>) -> Moved {
        if self.ends[CLIENT].is_gone() {
            return Err(Fault::new(Code::ClientGone));
        }
        let address = match &self.route.target {
            Target::Address(address) => *address,
            Target::Original { .. } => self.original()?,
            Target::Name => {
                if !std::mem::replace(&mut self.was_looked_up, true) {
                    context.lookups.push(self.route.id);
                }
                let is_late = context.now >= self.deadline;
                return if is_late { Err(Fault::new(Code::UpstreamTimeout)) } else { Ok(false) };
            }
        };
        if self.route.secured == Secured::Nothing {
            self.tell_application();
        }
        self.phase = Phase::Dialing(Box::new(Dial::new(&[address], context.now)));
        Ok(true)
    }

    /// Where the client wanted to go. A connection to the proxy's own port, made inside the pod or redirected, would lead the
    /// proxy to itself. And a pod's loopback is for the pod: whoever gets here by it, the application did not offer that to the
    /// world.
    pub fn original(&self) -> Result<SocketAddr, Fault> {
        let Target::Original { own, only } = &self.route.target else { return Err(Fault::new(Code::NotRedirected)) };
        let local = self.at.local.ok_or_else(|| Fault::new(Code::ClientGone))?;
        let is_meant = !own.contains(&local.port()) && only.as_ref().is_none_or(|ports| ports.contains(&local.port()));
        if is_meant && !is_loopback(local.ip()) { Ok(local) } else { Err(Fault::new(Code::NotRedirected)) }
    }

    fn dial(&mut self, context: &mut Context<'_>) -> Moved {
        if self.ends[CLIENT].is_gone() {
            return Err(Fault::new(Code::ClientGone));
        }
        let Phase::Dialing(dial) = &mut self.phase else { return Ok(false) };
        let index = self.id.index;
        match dial.advance(context.epoll, context.now, |number| token::of(index, token::ATTEMPT + number)) {
            Progress::Lost(error) => Err(Fault::got(Code::UpstreamRefused, errno_name(error))),
            Progress::Waiting if context.now >= self.deadline => Err(Fault::new(Code::UpstreamTimeout)),
            Progress::Waiting => {
                let next = dial.next_at();
                self.due = Some(next.map_or(self.deadline, |at| at.min(self.deadline)));
                Ok(false)
            }
            Progress::Won(mut socket, address) => {
                let renamed = socket.rename(context.epoll, token::of(index, token::UPSTREAM));
                renamed.map_err(|error: Errno| Fault::got(Code::Internal, errno_name(error)))?;
                self.ends[UPSTREAM].socket = Some(socket);
                self.upstream = Some(address);
                if self.route.secured == Secured::UpstreamTls {
                    self.begin_client(context)?;
                    return Ok(true);
                }
                self.join(context)
            }
        }
    }

    fn join(&mut self, context: &Context<'_>) -> Moved {
        debug_assert!(context.buffers.incoming.len() > BULK);
        self.phase = Phase::Open;
        self.due = None;
        self.was_joined = true;
        // What was accepted before is not told what it is, and costs nothing for it.
        if !context.shared.has_access_log {
            self.facts = None;
        }
        if let Some(place) = self.place {
            context.shared.admission().let_through(place);
        }
        Ok(true)
    }
}
