//! A connection from outside, or of the application, and the one that the proxy makes for it.

mod account;
mod carry;
mod context;
mod end;
mod ending;
mod handshake;
mod identity;
mod leaving;
mod phases;

pub use context::{BULK, Buffers, Context, token};
use end::{CLIENT, UPSTREAM};

use crate::admission::Place;
use crate::code::{Code, Fault};
use crate::counts::RuleCounts;
use crate::event::{At, Event};
use crate::inbox::{ConnectionId, Resolved};
use crate::net::dial::Dial;
use crate::net::socket::Socket;
use crate::route::Route;
use crate::shared::Shared;
use crate::source::Source;
use crate::tls::channel::Channel;
use crate::tls::facts::Facts;
use end::End as Side;
use leaving::Leaving;
use rustix::event::epoll::EventFlags;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

enum Phase {
    /// A client has to begin. Until its first message is there it costs nothing of TLS.
    Hello(Vec<u8>),
    /// It waits for its turn, with what it said and how often to look for room.
    Queued {
        said: Vec<u8>,
        next_look: Instant,
    },
    Shaking {
        begun: Instant,
        received: usize,
        said: Vec<u8>,
        server_name: Option<String>,
    },
    /// The addresses of the upstream are not known yet.
    Resolving,
    Dialing(Box<Dial>),
    Open,
}

pub enum Next {
    Wait,
    /// There is more to do although no event says so.
    Again,
    Done,
}

pub struct Pair {
    pub id: ConnectionId,
    pub at: At,
    pub route: Arc<Route>,
    pub counts: Arc<RuleCounts>,
    pub source: Source,
    pub place: Option<Place>,
    since: Instant,
    /// When the phase must be over.
    deadline: Instant,
    /// When to drive it although no event says so.
    pub due: Option<Instant>,
    phase: Phase,
    ends: [Side; 2],
    channel: Option<Box<Channel>>,
    facts: Option<Box<Facts>>,
    upstream: Option<SocketAddr>,
    leaving: Option<Leaving>,
    /// The side whose peer is gone, while what it said waits for the other one: bytes carried, and since when so many.
    stalled: Option<(u64, Instant)>,
    half_ended_at: Option<Instant>,
    /// Since when a side is gone that had ended its direction.
    left_at: Option<Instant>,
    /// Why it ends, once that is known and said.
    fault: Option<Fault>,
    /// Why it is to end at once.
    aborted: Option<Fault>,
    was_looked_up: bool,
    /// Both ends are to be reset.
    is_aborted: bool,
    is_in_turns: bool,
    was_joined: bool,
    held: u64,
    buffered: u64,
}

impl Pair {
    pub fn new(
        id: ConnectionId,
        at: At,
        route: Arc<Route>,
        source: Source,
        client: Socket,
        context: &Context<'_>,
    ) -> Self {
        let timeout = if route.secured.is_of_client() {
            context.shared.timeouts.handshake
        } else {
            context.shared.timeouts.upstream
        };
        let phase = if route.secured.is_of_client() { Phase::Hello(Vec::new()) } else { Phase::Resolving };
        let counts = context.shared.rule(at.rule);
        counts.open.fetch_add(1, Relaxed);
        Self {
            id,
            at,
            counts,
            source,
            place: None,
            since: context.now,
            deadline: context.now + timeout,
            due: Some(context.now + timeout),
            phase,
            ends: [Side { socket: Some(client), ..Side::default() }, Side::default()],
            channel: None,
            facts: None,
            upstream: None,
            leaving: None,
            stalled: None,
            half_ended_at: None,
            left_at: None,
            fault: None,
            aborted: None,
            was_looked_up: false,
            is_aborted: false,
            is_in_turns: false,
            was_joined: false,
            held: 0,
            buffered: 0,
            route,
        }
    }

    pub fn note(&mut self, kind: u8, flags: EventFlags) {
        let socket = match (kind, &mut self.phase) {
            (token::CLIENT, _) => self.ends[CLIENT].socket.as_mut(),
            (token::UPSTREAM, _) => self.ends[UPSTREAM].socket.as_mut(),
            (number, Phase::Dialing(dial)) => dial.socket(number - token::ATTEMPT),
            _ => None,
        };
        if let Some(socket) = socket {
            socket.note(flags);
        }
    }

    /// Which of the ends speaks TLS.
    fn tls_end(&self) -> Option<usize> {
        use crate::route::Secured;
        match self.route.secured {
            Secured::MutualTls | Secured::ServerTls => Some(CLIENT),
            Secured::UpstreamTls => Some(UPSTREAM),
            Secured::Nothing => None,
        }
    }

    /// Does what can be done now. The fault, if there is one, is left in `fault`.
    pub fn drive(&mut self, context: &mut Context<'_>) -> Next {
        let next = match self.advance(context) {
            Ok(()) if matches!(self.phase, Phase::Open) => self.carry(context),
            Ok(()) => Next::Wait,
            Err(fault) => {
                self.is_aborted = true;
                self.say(fault, context.shared);
                Next::Done
            }
        };
        if !matches!(next, Next::Done) {
            self.watch(context);
            self.tell_held(context);
        }
        next
    }

    fn watch(&mut self, context: &Context<'_>) {
        for end in &mut self.ends {
            if let Some(socket) = &mut end.socket
                && end.waiting.len() > 0
            {
                // Where the kernel can't, it is looked at again when its peer does something.
                let _ = socket.watch(context.epoll);
            }
        }
    }

    /// Whether it waits for its peer to do something: it has not been let through yet.
    pub fn is_resolving(&self) -> bool {
        matches!(self.phase, Phase::Resolving)
    }

    /// Ends both connections when it is driven next, for a reason that neither of them has.
    pub fn abort(&mut self, fault: Fault) {
        self.aborted = Some(fault);
    }

    /// Says why it ends, once, and as soon as it is known.
    fn say(&mut self, fault: Fault, shared: &Shared) {
        if self.fault.is_some() {
            return;
        }
        // The names in it are what the fault is about.
        let is_about = matches!(fault.code, Code::ClientIdentity | Code::UpstreamIdentity);
        let certificate = is_about.then(|| self.facts.as_ref().and_then(|facts| facts.certificate.clone())).flatten();
        self.fault = Some(fault.clone());
        shared.events.push(Event::Fault { at: self.at, source: self.source.to_string(), fault, certificate });
    }

    pub fn resolved(&mut self, resolved: &Resolved, now: Instant) {
        match resolved {
            Ok(addresses) => self.phase = Phase::Dialing(Box::new(Dial::new(addresses, now))),
            Err(why) => self.abort(Fault::got(Code::UpstreamRefused, why.to_string())),
        }
    }
}
