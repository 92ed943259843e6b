//! What a thread is told by others.

use crate::code::Code;
use crate::route::Route;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// A connection, whichever thread has it. The serial number is that of no other connection of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub thread: u16,
    pub index: u32,
    pub serial: u64,
}

/// What an upstream's name has come to: addresses, or why there are none.
pub type Resolved = Result<Arc<[SocketAddr]>, Arc<str>>;

pub enum Command {
    /// With the socket that listens. The threads have it, and connections have not: it is closed while they go on.
    Open(Arc<Route>, Arc<OwnedFd>),
    /// Accepts what waits in the queue of a route, and then no more. The sender is dropped when that is done.
    Stop(u32, Sender<()>),
    /// Of a route.
    Addresses(u32, Resolved),
    /// It is its turn to shake hands.
    Turn(ConnectionId),
    /// It has to go, and why.
    Abort(ConnectionId, Code),
    AbortAll,
    /// Tells what the kernel holds for each connection.
    Weigh,
    Exit,
}

pub struct Inbox {
    queue: Mutex<Vec<Command>>,
    pub wake: OwnedFd,
}

impl Inbox {
    pub fn new() -> Result<Self, Errno> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { queue: Mutex::default(), wake })
    }

    pub fn push(&self, command: Command) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        // It fails only where so much was written that the thread is woken anyway.
        let _ = write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub fn take(&self) -> Vec<Command> {
        let _ = read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
