//! A TCP connection that never blocks, on an edge-triggered epoll instance (epoll(7)).

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown, sockopt};
use std::time::Duration;

const INCOMING: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

pub struct Socket {
    fd: OwnedFd,
    token: u64,
    pub is_readable: bool,
    pub is_writable: bool,
    /// The kernel says when it becomes writable.
    is_watched: bool,
    /// The peer ended its direction, or all: that has to be read.
    has_hung_up: bool,
    /// There is no connection any more (EPOLLERR, EPOLLHUP).
    pub is_gone: bool,
    /// What the kernel has said already, and will not say again.
    told: Option<Errno>,
}

impl Socket {
    /// Of a connection that was accepted.
    pub fn accepted(fd: OwnedFd, epoll: &OwnedFd, token: u64) -> Result<Self, Errno> {
        epoll::add(epoll, &fd, EventData::new_u64(token), INCOMING)?;
        Ok(Self::new(fd, token, true))
    }

    /// Of one that is being made: it is writable when it is there.
    pub fn connecting(fd: OwnedFd, epoll: &OwnedFd, token: u64) -> Result<Self, Errno> {
        epoll::add(epoll, &fd, EventData::new_u64(token), INCOMING | EventFlags::OUT)?;
        let mut socket = Self::new(fd, token, false);
        socket.is_watched = true;
        Ok(socket)
    }

    fn new(fd: OwnedFd, token: u64, is_writable: bool) -> Self {
        let (is_readable, is_watched, has_hung_up, is_gone) = (false, false, false, false);
        Self { fd, token, is_readable, is_writable, is_watched, has_hung_up, is_gone, told: None }
    }

    /// Has its events come under another token.
    pub fn rename(&mut self, epoll: &OwnedFd, token: u64) -> Result<(), Errno> {
        self.token = token;
        self.is_watched = false;
        epoll::modify(epoll, &self.fd, EventData::new_u64(token), INCOMING)
    }

    pub fn note(&mut self, flags: EventFlags) {
        self.is_gone |= flags.intersects(EventFlags::ERR | EventFlags::HUP);
        self.has_hung_up |= self.is_gone || flags.contains(EventFlags::RDHUP);
        self.is_readable |= self.has_hung_up || flags.contains(EventFlags::IN);
        self.is_writable |= flags.contains(EventFlags::OUT);
    }

    /// Most connections never have to wait until they can send, and are not told that they can.
    pub fn watch(&mut self, epoll: &OwnedFd) -> Result<(), Errno> {
        if self.is_writable || self.is_watched {
            return Ok(());
        }
        self.is_watched = true;
        epoll::modify(epoll, &self.fd, EventData::new_u64(self.token), INCOMING | EventFlags::OUT)
    }

    /// Returns none where there is nothing to read now; 0 is the end.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Option<usize>, Errno> {
        if let Some(error) = self.told.take() {
            return Err(error);
        }
        match net::recv(&self.fd, &mut *into, RecvFlags::empty()) {
            Ok((_, length)) => {
                // Less than there was room for: nothing is left until the next event.
                self.is_readable = length == into.len() || self.has_hung_up;
                Ok(Some(length))
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.is_readable = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns how much was sent.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.send_with(bytes, SendFlags::NOSIGNAL)
    }

    /// For the last bytes: the kernel sends them together with the end of the direction, which has to come at once.
    pub fn send_last(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.send_with(bytes, SendFlags::NOSIGNAL | SendFlags::MORE)
    }

    fn send_with(&mut self, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        match net::send(&self.fd, bytes, flags) {
            Ok(length) => {
                self.is_writable = length == bytes.len();
                Ok(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.is_writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Of a connection that was being made. One that was reset as soon as it was there has been made.
    pub fn outcome(&mut self) -> Result<(), Errno> {
        match sockopt::socket_error(&self.fd)? {
            Err(Errno::CONNRESET) => {
                self.told = Some(Errno::CONNRESET);
                Ok(())
            }
            other => other,
        }
    }

    /// Ends this side's direction.
    pub fn end(&self) -> Result<(), Errno> {
        net::shutdown(&self.fd, Shutdown::Write)
    }

    /// Closes it so that the peer can't take it for a clean end (SO_LINGER of socket(7)).
    pub fn reset(self) {
        let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Small messages don't wait, and a peer that vanished is noticed, after a minute of silence and three probes.
pub fn tune(fd: impl AsFd) {
    let fd = fd.as_fd();
    let _ = sockopt::set_tcp_nodelay(fd, true);
    probe(fd, Duration::from_secs(60), Duration::from_secs(10));
    let _ = sockopt::set_socket_keepalive(fd, true);
}

/// For a connection whose peer has ended its direction: whoever closed it looks the same as whoever waits for an answer.
pub fn probe_sooner(fd: impl AsFd) {
    probe(fd.as_fd(), Duration::from_secs(15), Duration::from_secs(5));
}

fn probe(fd: BorrowedFd<'_>, idle: Duration, interval: Duration) {
    let _ = sockopt::set_tcp_keepidle(fd, idle);
    let _ = sockopt::set_tcp_keepintvl(fd, interval);
    let _ = sockopt::set_tcp_keepcnt(fd, 3);
}

/// What could not be sent at once.
#[derive(Default)]
pub struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Bytes of memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn flush(&mut self, sink: &mut Socket) -> Result<(), Errno> {
        if self.len() > 0 && sink.is_writable {
            self.sent += sink.send(&self.bytes[self.sent..])?;
        }
        if self.len() == 0 && self.sent > 0 {
            self.clear();
        }
        Ok(())
    }
}
