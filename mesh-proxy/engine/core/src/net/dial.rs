//! Attempts to connect to a host that may have many addresses, some of which may not answer (RFC 8305): one address after the
//! other, each a little later than the one before, and the first that answers wins.

use super::listen::tcp;
use super::socket::{Socket, tune};
use crate::limits::ATTEMPT_DELAY;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net;
use std::net::SocketAddr;
use std::time::Instant;

pub struct Dial {
    /// The best last.
    left: Vec<SocketAddr>,
    /// The number of each is part of its token.
    running: Vec<(u8, Socket, SocketAddr)>,
    begun: u8,
    next_at: Instant,
    last_error: Errno,
}

pub enum Progress {
    Won(Socket, SocketAddr),
    Waiting,
    /// With the error of the address that failed last.
    Lost(Errno),
}

impl Dial {
    pub fn new(addresses: &[SocketAddr], now: Instant) -> Self {
        let mut left = interleave(addresses);
        left.truncate(usize::from(u8::MAX) - 8);
        left.reverse();
        Self { left, running: Vec::new(), begun: 0, next_at: now, last_error: Errno::ADDRNOTAVAIL }
    }

    /// When to look again although no event says so.
    pub fn next_at(&self) -> Option<Instant> {
        (!self.left.is_empty()).then_some(self.next_at)
    }

    pub fn socket(&mut self, number: u8) -> Option<&mut Socket> {
        self.running.iter_mut().find(|(own, ..)| *own == number).map(|(_, socket, _)| socket)
    }

    /// Sees what has become of the attempts, and begins others. `token` names an attempt by its number.
    pub fn advance(&mut self, epoll: &OwnedFd, now: Instant, token: impl Fn(u8) -> u64) -> Progress {
        while let Some(at) = self.running.iter().position(|(_, socket, _)| socket.is_writable || socket.is_gone) {
            let (_, mut socket, address) = self.running.swap_remove(at);
            match socket.outcome() {
                Ok(()) => {
                    tune(socket.as_fd());
                    return Progress::Won(socket, address);
                }
                Err(error) => {
                    self.last_error = error;
                    self.next_at = now;
                }
            }
        }
        while now >= self.next_at {
            let Some(address) = self.left.pop() else { break };
            self.next_at = now + ATTEMPT_DELAY;
            self.begun += 1;
            match attempt(address, epoll, token(self.begun)) {
                Ok(socket) => self.running.push((self.begun, socket, address)),
                Err(error) => {
                    self.last_error = error;
                    self.next_at = now;
                }
            }
        }
        if self.running.is_empty() && self.left.is_empty() {
            Progress::Lost(self.last_error)
        } else {
            Progress::Waiting
        }
    }
}

fn attempt(address: SocketAddr, epoll: &OwnedFd, token: u64) -> Result<Socket, Errno> {
    let fd = tcp(address)?;
    match net::connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Socket::connecting(fd, epoll, token),
        Err(error) => Err(error),
    }
}

/// RFC 8305 §4: the families in turn, each in the order of the answer.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &&SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4());
    let mut preferred = addresses.iter().filter(is_first);
    let mut others = addresses.iter().filter(|address| !is_first(address));
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(preferred.next());
        all.extend(others.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let addresses = read(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"]);
        assert_eq!(interleave(&addresses), read(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(interleave(&[]), []);
    }
}
