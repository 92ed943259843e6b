//! The first message of a client, read before there is any state of TLS: what the server's settings depend on.

/// RFC 8446 §5.1: type, version, length.
const HEADER: usize = 5;
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=23;
const HANDSHAKE: u8 = 22;
/// RFC 8446 §4: type and length of a handshake message.
const MESSAGE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;

/// RFC 8446 §4.2
mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const SUPPORTED_GROUPS: u16 = 10;
    pub const ALPN: u16 = 16;
    pub const SUPPORTED_VERSIONS: u16 = 43;
}
const TLS_1_3: u16 = 0x0304;

/// The message, when it is there as a whole, in however many records. What can't be one is none, and TLS is the one to refuse
/// it.
pub fn first_message(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let &[kind, major, ..] = rest else {
            return (!rest.is_empty() && !RECORD_TYPES.contains(&rest[0])).then(Vec::new);
        };
        if !RECORD_TYPES.contains(&kind) || major != 3 {
            return Some(Vec::new());
        }
        let (header, after) = rest.split_at_checked(HEADER)?;
        let (fragment, after) = after.split_at_checked(usize::from(u16::from_be_bytes([header[3], header[4]])))?;
        if kind != HANDSHAKE {
            return Some(message);
        }
        message.extend_from_slice(fragment);
        if let Some(&[_, a, b, c]) = message.first_chunk::<MESSAGE_HEADER>()
            && message.len() - MESSAGE_HEADER >= u32::from_be_bytes([0, a, b, c]) as usize
        {
            return Some(message);
        }
        rest = after;
    }
}

/// What a client offers. Of what is malformed, nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hello {
    pub speaks_1_3: bool,
    /// By their numbers, in the client's order.
    pub groups: Vec<u16>,
    /// Protocols inside (RFC 7301).
    pub protocols: Vec<Vec<u8>>,
    /// RFC 6066 §3.
    pub server_name: Option<String>,
}

impl Hello {
    pub fn read(message: &[u8]) -> Self {
        Self::read_whole(message).unwrap_or_default()
    }

    fn read_whole(message: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(message);
        if cursor.byte()? != CLIENT_HELLO {
            return None;
        }
        let mut body = Cursor(cursor.vector(3)?);
        let (_version, _random) = (body.take(2)?, body.take(32)?);
        let (_session, _suites, _compression) = (body.vector(1)?, body.vector(2)?, body.vector(1)?);
        let mut extensions = Cursor(body.vector(2)?);
        let mut hello = Self::default();
        while !extensions.0.is_empty() {
            let (kind, content) = (extensions.number()?, extensions.vector(2)?);
            hello.note(kind, Cursor(content))?;
        }
        Some(hello)
    }

    fn note(&mut self, kind: u16, mut content: Cursor<'_>) -> Option<()> {
        match kind {
            extension::SUPPORTED_VERSIONS => {
                self.speaks_1_3 = content.vector(1)?.chunks_exact(2).any(|pair| pair == TLS_1_3.to_be_bytes());
            }
            extension::SUPPORTED_GROUPS => {
                let list = content.vector(2)?;
                self.groups = list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            }
            extension::ALPN => {
                let mut list = Cursor(content.vector(2)?);
                while !list.0.is_empty() {
                    self.protocols.push(list.vector(1)?.to_vec());
                }
            }
            extension::SERVER_NAME => {
                let mut list = Cursor(content.vector(2)?);
                if list.byte()? == 0 {
                    self.server_name = String::from_utf8(list.vector(2)?.to_vec()).ok();
                }
            }
            _ => {}
        }
        Some(())
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// RFC 8446 §3.4: its length in so many bytes, and then as many.
    fn vector(&mut self, prefix: usize) -> Option<&'a [u8]> {
        let length = self.take(prefix)?.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(prefix: usize, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - prefix..], content].concat()
    }

    fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let list: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &vector(2, content)].concat())
            .collect();
        let body =
            [&[3, 3][..], &[0; 32], &vector(1, &[]), &vector(2, &[0x13, 1]), &vector(1, &[0]), &vector(2, &list)]
                .concat();
        [&[CLIENT_HELLO][..], &vector(3, &body)].concat()
    }

    fn record(fragment: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1][..], &vector(2, fragment)].concat()
    }

    fn example() -> Vec<u8> {
        hello(&[
            (extension::SUPPORTED_VERSIONS, vector(1, &[3, 4, 3, 3])),
            (extension::SUPPORTED_GROUPS, vector(2, &[0x11, 0xec, 0, 29])),
            (extension::ALPN, vector(2, &[vector(1, b"h2"), vector(1, b"http/1.1")].concat())),
            (extension::SERVER_NAME, vector(2, &[&[0][..], &vector(2, b"web.example")].concat())),
        ])
    }

    #[test]
    fn what_a_client_offers_is_read() {
        let read = Hello::read(&example());
        assert!(read.speaks_1_3);
        assert_eq!(read.groups, [0x11ec, 29]);
        assert_eq!(read.protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(read.server_name.as_deref(), Some("web.example"));
    }

    #[test]
    fn a_message_in_pieces_is_one_when_all_are_there() {
        let message = example();
        let bytes: Vec<u8> = message.chunks(7).flat_map(record).collect();
        for end in 1..bytes.len() {
            assert_eq!(first_message(&bytes[..end]), None, "{end}");
        }
        assert_eq!(first_message(&bytes), Some(message));
    }

    #[test]
    fn what_is_no_tls_is_left_to_tls() {
        assert_eq!(first_message(b"GET / HTTP/1.1\r\n"), Some(Vec::new()));
        assert_eq!(first_message(b"G"), Some(Vec::new()));
        assert_eq!(first_message(&[22, 9]), Some(Vec::new()));
        assert_eq!(first_message(&[]), None);
    }

    #[test]
    fn of_damaged_bytes_nothing_is_believed_and_nothing_panics() {
        let message = example();
        for at in 0..message.len() {
            for value in [0, 1, 127, 255] {
                let mut damaged = message.clone();
                damaged[at] = value;
                let _ = Hello::read(&damaged);
                let _ = Hello::read(&damaged[..at]);
                let _ = first_message(&record(&damaged)[..at]);
            }
        }
    }
}
