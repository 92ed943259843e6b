//! One thread: an epoll instance, the connections that it accepted, and the buffers for all of them.

mod listeners;

use crate::code::{Code, Fault};
use crate::inbox::{Command, ConnectionId, Resolved};
use crate::pair::{Buffers, Context, Next, Pair, token};
use crate::route::Route;
use crate::shared::Shared;
use crate::shed::Weight;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::HashMap;
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
        // All that is known of a connection is noted before it is driven, once.
        let mut ready = std::mem::take(&mut self.ready);
        let mut is_told = false;
        for event in events.iter() {
            match event.data.u64() {
                INBOX => is_told = true,
                listener if listener & LISTENER != 0 => {
                    self.accept((listener & !LISTENER) as u32);
                }
                other => {
                    let (index, kind) = token::read(other);
                    if let Some(Some(pair)) = self.pairs.get_mut(index as usize) {
                        pair.note(kind, event.flags);
                        ready.push(index);
                    }
                }
            }
        }
        ready.sort_unstable();
        ready.dedup();
        for index in ready {
            self.drive(index);
        }
        if is_told && !self.obey() {
            return false;
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
