//! One thread: an epoll instance, the connections that it accepted, and the buffers for all of them.

use crate::code::{Code, Fault};
use crate::event::{At, Event};
use crate::inbox::{Command, ConnectionId, Resolved};
use crate::net::listen::{accept, local_address};
use crate::net::socket::{Socket, tune};
use crate::pair::{Buffers, Context, Next, Pair, token};
use crate::route::{Route, Target};
use crate::shared::Shared;
use crate::shed::Weight;
use crate::source::Source;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

const INBOX: u64 = u64::MAX;
/// And the number of a route.
const LISTENER: u64 = 1 << 62;

/// Accepted in one turn, so that all of a crowd are not on the thread that woke first.
const MOST_ACCEPTED: usize = 4;

/// How often to look whether there are descriptors again.
const PAUSE: Duration = Duration::from_millis(100);

/// Two looks at what is due are so far apart, at least.
const SWEEP: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_secs(60);

pub struct Worker {
    number: u16,
    shared: Arc<Shared>,
    epoll: OwnedFd,
    buffers: Buffers,
    pairs: Vec<Option<Box<Pair>>>,
    /// When each is due.
    dues: Vec<Option<Instant>>,
    next_sweep: Option<Instant>,
    free: Vec<u32>,
    /// Their places are free after the turn: events of this one may still name them.
    ended: Vec<u32>,
    /// Have more to do although no event says so.
    ready: Vec<u32>,
    serial: u64,
    routes: HashMap<u32, (Arc<Route>, Arc<OwnedFd>)>,
    paused: HashMap<u32, Instant>,
    /// Connections that wait for the addresses of a route.
    resolving: HashMap<u32, Vec<u32>>,
    lookups: Vec<u32>,
    now: Instant,
}

impl Worker {
    pub fn new(number: u16, shared: Arc<Shared>) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &shared.inboxes[usize::from(number)].wake, EventData::new_u64(INBOX), EventFlags::IN)?;
        Ok(Self {
            number,
            shared,
            epoll,
            buffers: Buffers::new(),
            pairs: Vec::new(),
            dues: Vec::new(),
            next_sweep: None,
            free: Vec::new(),
            ended: Vec::new(),
            ready: Vec::new(),
            serial: 0,
            routes: HashMap::new(),
            paused: HashMap::new(),
            resolving: HashMap::new(),
            lookups: Vec::new(),
            now: Instant::now(),
        })
    }

    /// Until it is told to exit.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(256);
        while self.turn(&mut events) {}
    }

    fn turn(&mut self, events: &mut Vec<epoll::Event>) -> bool {
        events.clear();
        let timeout = self.timeout();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait: {error}"),
        }
        self.now = Instant::now();
        let ready = std::mem::take(&mut self.ready);
        for event in events.iter() {
            match event.data.u64() {
                INBOX => {
                    if !self.obey() {
                        return false;
                    }
                }
                listener if listener & LISTENER != 0 => {
                    self.accept((listener & !LISTENER) as u32);
                }
                other => {
                    let (index, kind) = token::read(other);
                    if let Some(Some(pair)) = self.pairs.get_mut(index as usize) {
                        pair.note(kind, event.flags);
                        self.drive(index);
                    }
                }
            }
        }
        for index in ready {
            self.drive(index);
        }
        self.sweep();
        self.free.append(&mut self.ended);
        true
    }

    fn timeout(&self) -> Timespec {
        let resumes = self.paused.values().min().copied();
        let next = [self.next_sweep, resumes].into_iter().flatten().min();
        let wait = next.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        let wait = if self.ready.is_empty() { wait } else { Duration::ZERO };
        Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
    }

    fn obey(&mut self) -> bool {
        let shared = self.shared.clone();
        for command in shared.inboxes[usize::from(self.number)].take() {
            match command {
                Command::Open(route, listener) => self.listen(route, listener),
                Command::Stop(id, _done) => {
                    while self.accept(id) {}
                    self.stop(id);
                }
                Command::Addresses(id, resolved) => self.resolved(id, &resolved),
                Command::Turn(id) => self.with(id, |pair, context| {
                    if let Err(fault) = pair.take_turn(context) {
                        pair.abort(fault);
                    }
                }),
                Command::Abort(id, code) => self.with(id, |pair, _| pair.abort(Fault::new(code))),
                Command::AbortAll => self.abort_all(),
                Command::Weigh => self.weigh(),
                Command::Exit => return false,
            }
        }
        true
    }

    fn abort_all(&mut self) {
        for index in 0..self.pairs.len() {
            if let Some(pair) = &mut self.pairs[index] {
                pair.abort(Fault::new(Code::ConnectionBroken));
                self.drive(index as u32);
            }
        }
    }

    fn weigh(&self) {
        let weights = self.pairs.iter().flatten().map(|pair| Weight {
            id: pair.id,
            source: pair.held_for(),
            bytes: pair.kernel_memory(),
        });
        let victims = self.shared.weighing.lock().unwrap_or_else(PoisonError::into_inner).add(weights);
        for id in victims {
            self.shared.tell(id, Command::Abort(id, Code::TooManyBytesWaiting));
        }
    }

    /// Does something with a connection if it is still there.
    fn with(&mut self, id: ConnectionId, act: impl FnOnce(&mut Pair, &mut Context<'_>)) {
        let Some(Some(pair)) = self.pairs.get_mut(id.index as usize) else { return };
        if pair.id != id {
            return;
        }
        let mut context = Context {
            shared: &self.shared,
            epoll: &self.epoll,
            buffers: &mut self.buffers,
            now: self.now,
            lookups: &mut self.lookups,
        };
        act(pair, &mut context);
        self.drive(id.index);
    }

    fn listen(&mut self, route: Arc<Route>, listener: Arc<OwnedFd>) {
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        let token = EventData::new_u64(LISTENER | u64::from(route.id));
        match epoll::add(&self.epoll, &*listener, token, flags) {
            Ok(()) => drop(self.routes.insert(route.id, (route, listener))),
            Err(error) => self.shared.events.push(Event::NotAccepted { route: route.id, error }),
        }
    }

    fn stop(&mut self, id: u32) {
        self.paused.remove(&id);
        if let Some((_, listener)) = self.routes.remove(&id) {
            let _ = epoll::delete(&self.epoll, &*listener);
        }
    }

    /// Returns whether there may be more.
    fn accept(&mut self, id: u32) -> bool {
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
                    return false;
                }
            }
        }
        true
    }

    /// Connections wait in the kernel's queue until others have ended.
    fn pause(&mut self, route: &Route, listener: &OwnedFd) {
        let _ = epoll::delete(&self.epoll, listener);
        self.paused.insert(route.id, self.now + PAUSE);
        self.shared.events.push(Event::Paused { route: route.id });
    }

    fn resume(&mut self) {
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
        tune(&fd);
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
                counts.end(crate::counts::Outcome::Refused, Some(code));
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
    fn enter(&self, route: &Route, id: ConnectionId, source: Source) -> Result<Option<crate::admission::Place>, Code> {
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

    fn leave(&self, route: &Route, place: Option<crate::admission::Place>) {
        let mut admission = self.shared.admission();
        match place {
            Some(place) => admission.leave(place),
            None => admission.leave_egress(route.id),
        }
    }

    fn drive(&mut self, index: u32) {
        let at = index as usize;
        let Some(pair) = &mut self.pairs[at] else { return };
        let mut context = Context {
            shared: &self.shared,
            epoll: &self.epoll,
            buffers: &mut self.buffers,
            now: self.now,
            lookups: &mut self.lookups,
        };
        let next = pair.drive(&mut context);
        let due = pair.due;
        match next {
            Next::Done => {
                self.dues[at] = None;
                self.ended.push(index);
                if let Some(pair) = self.pairs[at].take() {
                    pair.close(&self.shared, self.now);
                }
                return;
            }
            Next::Again => self.ready.push(index),
            Next::Wait => {}
        }
        self.dues[at] = due;
        if let Some(due) = due {
            self.next_sweep = Some(self.next_sweep.map_or(due, |at| at.min(due)));
        }
        for route in std::mem::take(&mut self.lookups) {
            let waiting = self.resolving.entry(route).or_default();
            if waiting.is_empty() {
                self.shared.events.look_up(route);
            }
            waiting.push(index);
        }
    }

    fn resolved(&mut self, route: u32, resolved: &Resolved) {
        for index in self.resolving.remove(&route).unwrap_or_default() {
            let Some(pair) = &mut self.pairs[index as usize] else { continue };
            if pair.route.id == route && pair.is_resolving() {
                pair.resolved(resolved, self.now);
                self.drive(index);
            }
        }
    }

    fn sweep(&mut self) {
        self.resume();
        if self.next_sweep.is_none_or(|at| at > self.now) {
            return;
        }
        self.next_sweep = None;
        for index in 0..self.dues.len() {
            if self.dues[index].is_some_and(|due| due <= self.now) {
                self.drive(index as u32);
            }
        }
        let next = self.dues.iter().flatten().min();
        self.next_sweep = next.map(|&at| at.max(self.now + SWEEP));
    }
}
