//! One of the two connections of a pair.

use crate::net::socket::{Socket, Waiting};
use rustix::io::Errno;

/// Who connected, and whom the proxy connected to.
pub const CLIENT: usize = 0;
pub const UPSTREAM: usize = 1;

#[derive(Default)]
pub struct End {
    pub socket: Option<Socket>,
    /// What is to be written to it.
    pub waiting: Waiting,
    /// That is the end of the handshake, and goes out together with what the other end has said by now.
    pub is_corked: bool,
    /// Nothing more comes from it, cleanly.
    pub has_ended: bool,
    /// It is gone, or nothing more comes from it after a part of something.
    pub is_broken: bool,
    /// Why it takes nothing more. What it said is still to be read.
    pub refusal: Option<Errno>,
    /// All that the other end said is sent, and under TLS the closing alert is next.
    pub is_closing: bool,
    /// It was told that nothing more comes.
    pub is_shut: bool,
    /// What comes from it is read and forgotten.
    pub is_dropping: bool,
    pub is_probed_sooner: bool,
    /// It sends as much as is read at once.
    pub is_bulk: bool,
    /// Plain bytes that came from it.
    pub carried: u64,
}

impl End {
    pub fn is_gone(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.is_gone)
    }

    /// It is gone after it had ended its direction, and was not told that nothing more comes.
    pub fn has_left(&self) -> bool {
        self.is_gone() && self.has_ended && !self.is_shut && !self.is_broken
    }

    pub fn takes(&self) -> bool {
        !self.is_broken && self.refusal.is_none()
    }

    /// Ends it so that its peer can't take it for a clean end.
    pub fn reset(&mut self) {
        self.waiting.clear();
        if let Some(socket) = self.socket.take() {
            socket.reset();
        }
    }
}
