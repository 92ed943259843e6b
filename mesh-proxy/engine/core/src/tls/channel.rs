//! One connection under TLS. It owns no buffer but for the beginning of what is not whole yet: what is read, opened, sealed and
//! written stands in buffers of the thread.

use super::client::ClientSide;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, ServerConfig};
use std::sync::Arc;

/// RFC 8446 §5.1.
pub const MOST_PLAIN: usize = 1 << 14;
/// What a record has beside its content: header, explicit nonce (TLS 1.2), tag and content type.
const MOST_OVERHEAD: usize = 5 + 8 + 16 + 1;
/// RFC 5246 §6.2.3, which allows more than RFC 8446 §5.2.
pub const MOST_RECORD: usize = 5 + MOST_PLAIN + 2048;

/// The beginning of a record, and of a message of the handshake in the records before it: a ticket takes less. Whoever sends a
/// message of the longest kind in pieces of one byte would have a megabyte kept.
pub const MOST_KEPT: usize = 2 * MOST_RECORD;

/// Room that sealing so many bytes may take.
pub const fn sealed(plain: usize) -> usize {
    plain + plain.div_ceil(MOST_PLAIN) * MOST_OVERHEAD
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

pub struct Channel {
    side: Side,
    /// The beginning of a record, or of a message.
    partial: Vec<u8>,
}

/// What the peer's bytes have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The handshake needs more of them.
    Shaking,
    Open,
    /// The peer has ended its direction, with its closing alert (RFC 8446 §6.1).
    Ended,
}

enum Step {
    Again,
    Stop(State),
}

impl Channel {
    pub fn client(ClientSide { config, name }: &ClientSide) -> Result<Self, Error> {
        let side = UnbufferedClientConnection::new(config.clone(), name.clone()).map(Side::Client)?;
        Ok(Self { side, partial: Vec::new() })
    }

    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let side = UnbufferedServerConnection::new(config).map(Side::Server)?;
        Ok(Self { side, partial: Vec::new() })
    }

    pub fn facts(&self) -> &CommonState {
        match &self.side {
            Side::Client(one) => one,
            Side::Server(one) => one,
        }
    }

    /// How many bytes come before what is read next.
    pub fn kept(&self) -> usize {
        self.partial.len()
    }

    /// Takes what was read. `incoming` begins with room for what was kept. What is to be answered is added to `control`, also
    /// where it fails: that is the alert. Plain bytes are added to `plain`.
    pub fn open(&mut self, incoming: &mut [u8], control: &mut Vec<u8>, plain: &mut Vec<u8>) -> Result<State, Error> {
        let kept = std::mem::take(&mut self.partial);
        incoming[..kept.len()].copy_from_slice(&kept);
        let mut at = 0;
        let state = loop {
            let (discard, step) = self.step(&mut incoming[at..], control, plain);
            at += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Stop(state)) => break state,
                Err(error) => {
                    self.tell_why(&mut incoming[at..], control);
                    return Err(error);
                }
            }
        };
        if incoming.len() - at > MOST_KEPT {
            return Err(Error::General("a message in too many pieces".into()));
        }
        if at < incoming.len() && state != State::Ended {
            self.partial = incoming[at..].to_vec();
        }
        Ok(state)
    }

    /// The alert.
    fn tell_why(&mut self, incoming: &mut [u8], control: &mut Vec<u8>) {
        let before = control.len();
        let _ = self.step(incoming, control, &mut Vec::new());
        debug_assert!(control.len() >= before);
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        control: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> (usize, Result<Step, Error>) {
        match &mut self.side {
            Side::Client(one) => digest(one.process_tls_records(incoming), control, plain),
            Side::Server(one) => digest(one.process_tls_records(incoming), control, plain),
        }
    }

    /// Seals bytes into `out`, which has room for them. Returns the length.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8], control: &mut Vec<u8>) -> Result<usize, Error> {
        self.write(control, |writer| match writer {
            Writer::Client(one) => one.encrypt(plain, out),
            Writer::Server(one) => one.encrypt(plain, out),
        })
    }

    /// Ends this side's direction (RFC 8446 §6.1).
    pub fn close(&mut self, control: &mut Vec<u8>) -> Result<(), Error> {
        let mut out = [0; 64];
        let length = self.write(control, |writer| match writer {
            Writer::Client(one) => one.queue_close_notify(&mut out),
            Writer::Server(one) => one.queue_close_notify(&mut out),
        })?;
        control.extend_from_slice(&out[..length]);
        Ok(())
    }

    fn write(
        &mut self,
        control: &mut Vec<u8>,
        write: impl FnOnce(Writer<'_, '_>) -> Result<usize, EncryptError>,
    ) -> Result<usize, Error> {
        let Self { side, partial } = self;
        // What is not whole is shown again, for there may be a part of a message in it that rustls has seen.
        let mut plain = Vec::new();
        loop {
            let step = match side {
                Side::Client(one) => match one.process_tls_records(partial) {
                    UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } => {
                        return write(Writer::Client(&mut traffic)).map_err(|error| Error::General(error.to_string()));
                    }
                    other => digest(other, control, &mut plain),
                },
                Side::Server(one) => match one.process_tls_records(partial) {
                    UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } => {
                        return write(Writer::Server(&mut traffic)).map_err(|error| Error::General(error.to_string()));
                    }
                    other => digest(other, control, &mut plain),
                },
            };
            match step {
                (0, Ok(Step::Again)) => {}
                _ => return Err(Error::General("not ready to write".into())),
            }
        }
    }
}

enum Writer<'a, 'c> {
    Client(&'a mut rustls::unbuffered::WriteTraffic<'c, rustls::client::ClientConnectionData>),
    Server(&'a mut rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>),
}

fn digest<Data>(
    UnbufferedStatus { mut discard, state, .. }: UnbufferedStatus<'_, '_, Data>,
    control: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let step = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                plain.extend_from_slice(record.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let at = control.len();
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                control.resize(at + size.required_size, 0);
                data.encode(&mut control[at..]).map_err(|error| Error::General(error.to_string()))?;
            }
            Ok(Step::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(_) => Ok(Step::Stop(State::Open)),
        ConnectionState::BlockedHandshake => Ok(Step::Stop(State::Shaking)),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Stop(State::Ended)),
        _ => Err(Error::General("unexpected state".into())),
    });
    (discard, step)
}

#[cfg(test)]
mod tests;
