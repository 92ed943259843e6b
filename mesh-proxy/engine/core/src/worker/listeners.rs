//! The listening sockets of a thread, and what becomes of what they accept.

use super::{LISTENER, MOST_ACCEPTED, PAUSE, Worker};
use crate::admission::Place;
use crate::code::{Code, Fault};
use crate::counts::Outcome;
use crate::event::{At, Event};
use crate::inbox::{Command, ConnectionId};
use crate::net::listen::{accept, local_address};
use crate::net::socket::Socket;
use crate::pair::{Context, Pair, token};
use crate::route::{Route, Target};
use crate::source::Source;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::sync::Arc;

impl Worker {
    pub(super) fn listen(&mut self, route: Arc<Route>, listener: Arc<OwnedFd>) {
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        let token = EventData::new_u64(LISTENER | u64::from(route.id));
        match epoll::add(&self.epoll, &*listener, token, flags) {
            Ok(()) => drop(self.routes.insert(route.id, (route, listener))),
            Err(error) => self.shared.events.push(Event::NotAccepted { route: route.id, error }),
        }
    }

    pub(super) fn stop(&mut self, id: u32) {
        self.paused.remove(&id);
        if let Some((_, listener)) = self.routes.remove(&id) {
            let _ = epoll::delete(&self.epoll, &*listener);
        }
    }

    /// Returns whether there may be more.
    pub(super) fn accept(&mut self, id: u32) -> bool {
        for _ in 0..MOST_ACCEPTED {
            let Some((route, listener)) = self.routes.get(&id).cloned() else { return false };
            match accept(&listener) {
                Ok((fd, peer)) => {
                    let is_scarce = u64::try_from(fd.as_raw_fd()).is_ok_and(|fd| fd >= self.shared.limits.descriptors);
                    self.begin(&route, fd, peer);
                    if is_scarce {
                        self.pause(&route, &listener);
                        return false;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return false,
                Err(Errno::MFILE | Errno::NFILE) => {
                    self.pause(&route, &listener);
                    return false;
                }
                // It was shut down.
                Err(Errno::INVAL) => {
                    self.stop(id);
                    return false;
                }
                Err(error) => {
                    self.shared.events.push(Event::NotAccepted { route: id, error });
                    self.rest(&route, &listener);
                    return false;
                }
            }
        }
        true
    }

    /// Connections wait in the kernel's queue until others have ended.
    fn pause(&mut self, route: &Route, listener: &OwnedFd) {
        self.rest(route, listener);
        self.shared.events.push(Event::Paused { route: route.id });
    }

    fn rest(&mut self, route: &Route, listener: &OwnedFd) {
        let _ = epoll::delete(&self.epoll, listener);
        self.paused.insert(route.id, self.now + PAUSE);
    }

    pub(super) fn resume(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let over: Vec<u32> = self.paused.iter().filter(|(_, at)| **at <= self.now).map(|(&id, _)| id).collect();
        for id in over {
            let is_scarce = self.are_descriptors_scarce();
            if is_scarce {
                self.paused.insert(id, self.now + PAUSE);
                continue;
            }
            self.paused.remove(&id);
            if let Some((route, listener)) = self.routes.remove(&id) {
                self.listen(route, listener);
            }
        }
    }

    /// The kernel gives the lowest number that is free: as many descriptors are in use, at least.
    fn are_descriptors_scarce(&self) -> bool {
        match rustix::io::fcntl_dupfd_cloexec(&self.epoll, 0) {
            Ok(lowest) => u64::try_from(lowest.as_raw_fd()).is_ok_and(|fd| fd >= self.shared.limits.descriptors),
            Err(_) => true,
        }
    }

    fn begin(&mut self, route: &Arc<Route>, fd: OwnedFd, peer: Option<SocketAddr>) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.dues.push(None);
            (self.pairs.len() - 1) as u32
        });
        self.serial += 1;
        let id = ConnectionId { thread: self.number, index, serial: self.serial };
        let local = local_address(&fd);
        let rule = route.settings(local.map_or(0, |local| local.port())).rule;
        let at = At { route: route.id, rule, peer, local };
        let source = match peer {
            Some(peer) if !route.is_egress => Source::of(peer.ip()),
            _ => Source::Route(route.id),
        };
        let entered = self.enter(route, id, source);
        let Ok(client) = Socket::accepted(fd, &self.epoll, token::of(index, token::CLIENT)) else {
            if let Ok(place) = entered {
                self.leave(route, place);
            }
            self.ended.push(index);
            return;
        };
        match entered {
            Ok(place) => {
                let mut pair = self.pair(id, at, route, source, client);
                pair.place = place;
                if matches!(route.target, Target::Original { .. })
                    && let Err(fault) = pair.original()
                {
                    pair.abort(fault);
                }
                self.pairs[index as usize] = Some(Box::new(pair));
                self.drive(index);
            }
            Err(code) => {
                client.reset();
                self.ended.push(index);
                let counts = self.shared.rule(rule);
                counts.end(Outcome::Refused, Some(code));
                let source = source.to_string();
                self.shared.events.push(Event::Fault { at, source, fault: Fault::new(code), certificate: None });
            }
        }
    }

    fn pair(&mut self, id: ConnectionId, at: At, route: &Arc<Route>, source: Source, client: Socket) -> Pair {
        let context = Context {
            shared: &self.shared,
            epoll: &self.epoll,
            buffers: &mut self.buffers,
            now: self.now,
            lookups: &mut self.lookups,
        };
        Pair::new(id, at, route.clone(), source, client, &context)
    }

    /// Returns its place; egress has none.
    fn enter(&self, route: &Route, id: ConnectionId, source: Source) -> Result<Option<Place>, Code> {
        let mut admission = self.shared.admission();
        if route.is_egress {
            return admission.enter_egress(route.id).map(|()| None);
        }
        let (entered, displaced) = admission.enter(source, id, self.now);
        drop(admission);
        for id in displaced {
            self.shared.tell(id, Command::Abort(id, Code::TooManyConnections));
        }
        entered.map(Some)
    }

    fn leave(&self, route: &Route, place: Option<Place>) {
        let mut admission = self.shared.admission();
        match place {
            Some(place) => admission.leave(place),
            None => admission.leave_egress(route.id),
        }
    }
}
