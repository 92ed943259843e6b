//! The way of a connection until it is carried: its client's handshake, its upstream, and the handshake with that.

use super::{BULK, CLIENT, Context, Pair, Phase, UPSTREAM, token};
use crate::code::{Code, Fault, errno_name};
use crate::net::dial::{Dial, Progress};
use crate::route::{Secured, Target};
use crate::source::is_loopback;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Whether another phase has begun.
pub(super) type Moved = Result<bool, Fault>;

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

    pub(super) fn begin(&mut self, phase: Phase, now: Instant, timeout: Duration) {
        self.phase = phase;
        self.deadline = now + timeout;
        self.due = Some(self.deadline);
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
        let Phase::Dialing(dial) = &mut self.phase else { return Ok(false) };
        let index = self.id.index;
        match dial.advance(context.epoll, context.now, |number| token::of(index, token::ATTEMPT + number)) {
            Progress::Lost(error) => Err(Fault::got(Code::UpstreamRefused, errno_name(error))),
            Progress::Waiting if self.ends[CLIENT].is_gone() => Err(Fault::new(Code::ClientGone)),
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

    pub(super) fn join(&mut self, context: &Context<'_>) -> Moved {
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
