//! What the program does with the engine.

use crate::admission::Admission;
use crate::code::errno_name;
use crate::event::{Batch, Ring};
use crate::inbox::{Command, Inbox};
use crate::limits::{Limits, Timeouts};
use crate::net::listen::{listen, local_address};
use crate::net::socket::tune;
use crate::route::{PortSettings, Route, Rules, Secured, Target};
use crate::shared::{Shared, Trust};
use crate::tls::credentials::Credentials;
use crate::tls::names::Name;
use crate::worker::Worker;
use rustix::fd::OwnedFd;
use rustix::net::{Shutdown, shutdown};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Each thread has little on its stack: buffers are on the heap.
const STACK: usize = 512 * 1024;

/// A thread that died would leave its connections and its part of the limits lost: a panic ends the process, also where it is
/// not built with `panic = "abort"`. The message is on standard error by then.
struct EndsProcess;

impl Drop for EndsProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// A thread is woken, and accepts what is in the queue. One that is busy for longer loses it.
const STOP: Duration = Duration::from_millis(200);

pub struct Settings {
    pub threads: u16,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub has_access_log: bool,
    /// Whether sessions are resumed; only a measurement of full handshakes wants none.
    pub resumes: bool,
}

/// Where a route listens: at an address, or with a socket that does so already.
pub enum Listen {
    At(SocketAddr),
    With(OwnedFd),
}

pub struct Opening {
    pub listen: Listen,
    pub is_egress: bool,
    pub secured: Secured,
    pub target: Target,
    pub host: String,
    pub pinned: Option<Name>,
    pub ports: HashMap<u16, PortSettings>,
    pub otherwise: PortSettings,
}

/// What is used of the limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub ingress: u64,
    pub ingress_of_one_source: u64,
    pub egress_of_one_route: u64,
    pub handshakes: u64,
    pub handshakes_of_one_source: u64,
    pub handshakes_waiting: u64,
    pub held_bytes: u64,
    pub held_bytes_of_one_source: u64,
}

pub struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_route: AtomicU32,
    listeners: Mutex<HashMap<u32, Arc<OwnedFd>>>,
}

impl Engine {
    /// `tell` is called from any thread when there are events to take. It must not wait.
    pub fn start(settings: &Settings, tell: Box<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let inboxes = (0..settings.threads).map(|_| Inbox::new()).collect::<Result<_, _>>()?;
        let shared = Arc::new(Shared {
            limits: settings.limits,
            timeouts: settings.timeouts,
            has_access_log: settings.has_access_log,
            resumes: settings.resumes,
            events: Ring::new(tell),
            inboxes,
            admission: Mutex::new(Admission::new(settings.limits)),
            trust: RwLock::default(),
            rules: RwLock::default(),
            weighing: Mutex::default(),
        });
        let engine =
            Self { shared, threads: Mutex::default(), next_route: AtomicU32::new(0), listeners: Mutex::default() };
        let started = (0..settings.threads).try_for_each(|number| engine.start_thread(number));
        if started.is_err() {
            engine.exit();
        }
        started.map(|()| engine)
    }

    fn start_thread(&self, number: u16) -> io::Result<()> {
        let worker = Worker::new(number, self.shared.clone())?;
        let thread = Builder::new().name(format!("engine-{number}")).stack_size(STACK).spawn(|| {
            let _guard = EndsProcess;
            worker.run();
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// When it returns, new connections are made with it. An error changes nothing.
    pub fn set_credentials(&self, credentials: Credentials, allows_1_2: bool) -> Result<(), String> {
        let trust = Trust::new(credentials, allows_1_2, self.shared.resumes).map_err(|error| error.to_string())?;
        *self.shared.trust.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(trust));
        Ok(())
    }

    /// Listens when it returns: the number of the route, and the address. An error is the name of the system's.
    pub fn open(&self, opening: Opening) -> Result<(u32, Option<SocketAddr>), String> {
        let listener = match opening.listen {
            Listen::At(address) => listen(address).map_err(|error| errno_name(error).into_owned())?,
            Listen::With(socket) => socket,
        };
        let id = self.next_route.fetch_add(1, Ordering::Relaxed);
        // What is accepted inherits it (tcp(7)).
        tune(&listener);
        let address = local_address(&listener);
        let Opening { is_egress, secured, target, host, pinned, ports, otherwise, .. } = opening;
        for settings in ports.values().chain([&otherwise]) {
            // So that its counters are there, at zero, before the first connection.
            self.shared.rule(settings.rule);
        }
        let route = Arc::new(Route { id, is_egress, secured, target, host, pinned, ports, otherwise });
        let listener = Arc::new(listener);
        self.shared.tell_all(|| Command::Open(route.clone(), listener.clone()));
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(id, listener);
        Ok((id, address))
    }

    /// Answers an event's lookup.
    pub fn set_addresses(&self, route: u32, addresses: Result<&[SocketAddr], &str>) {
        let resolved = addresses.map(Arc::from).map_err(Arc::from);
        self.shared.tell_all(|| Command::Addresses(route, resolved.clone()));
    }

    /// Accepts no more connections of a route; those that it has go on. Nobody listens any more when it returns.
    pub fn stop(&self, route: u32) {
        let Some(listener) = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(&route) else {
            return;
        };
        let (stopped, all_stopped) = channel();
        self.shared.tell_all(|| Command::Stop(route, stopped.clone()));
        drop(stopped);
        // Nobody sends anything: it ends when all threads are done.
        let _ = all_stopped.recv_timeout(STOP);
        let _ = shutdown(&*listener, Shutdown::Both);
    }

    /// Resets all connections.
    pub fn reset_all(&self) {
        self.shared.tell_all(|| Command::AbortAll);
    }

    /// Resets connections for which the kernel holds so many bytes together: the heaviest of the heaviest source first.
    pub fn shed(&self, excess: u64) {
        let mut weighing = self.shared.weighing.lock().unwrap_or_else(PoisonError::into_inner);
        if weighing.begin(excess, self.shared.inboxes.len()) {
            drop(weighing);
            self.shared.tell_all(|| Command::Weigh);
        }
    }

    pub fn take_events(&self) -> Batch {
        self.shared.events.take()
    }

    pub fn events_lost(&self) -> u64 {
        self.shared.events.lost()
    }

    pub fn rules(&self) -> Rules {
        self.shared.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn used(&self) -> Used {
        let admission = self.shared.admission();
        Used {
            ingress: admission.ingress_inside(),
            ingress_of_one_source: admission.ingress_most(),
            egress_of_one_route: admission.egress_most(),
            handshakes: admission.turns.inside(),
            handshakes_of_one_source: admission.turns.most_of_one_source(),
            handshakes_waiting: admission.turns.waiting(),
            held_bytes: admission.held_bytes.used(),
            held_bytes_of_one_source: admission.held_bytes.most_of_one_source(),
        }
    }

    /// Ends all threads, and with them what connections are left.
    pub fn exit(&self) {
        self.shared.tell_all(|| Command::Exit);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}
