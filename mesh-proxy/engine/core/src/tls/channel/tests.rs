//! Two channels that talk to each other in memory, in pieces of any size, and with damage.

use super::*;
use crate::tls::client::ClientSide;
use crate::tls::credentials::Credentials;
use crate::tls::hello::{Hello, first_message};
use crate::tls::server::ServerSide;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::sync::OnceLock;

/// Of Numerical Recipes: the same numbers in each run.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % bound
    }
}

struct Mesh {
    client: ClientSide,
    server: ServerSide,
}

fn mesh() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    MESH.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let mut params = CertificateParams::new(vec!["workload".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap().pem();
        let read = Credentials::read(leaf.as_bytes(), key.serialize_pem().as_bytes(), ca.as_bytes()).unwrap();
        let client = ClientSide::new(&read, "workload", true, true).unwrap();
        Mesh { client, server: ServerSide::new(&read, true, true, true).unwrap() }
    })
}

/// One side, and what it has said and not been heard.
struct Peer {
    channel: Channel,
    said: Vec<u8>,
    heard: Vec<u8>,
    state: State,
}

impl Peer {
    fn new(channel: Channel) -> Self {
        Self { channel, said: Vec::new(), heard: Vec::new(), state: State::Shaking }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut incoming = vec![0; self.channel.kept()];
        incoming.extend_from_slice(bytes);
        self.state = self.channel.open(&mut incoming, &mut self.said, &mut self.heard)?;
        Ok(())
    }

    fn say(&mut self, plain: &[u8]) {
        let mut out = vec![0; sealed(plain.len())];
        let length = self.channel.seal(plain, &mut out, &mut self.said).unwrap();
        self.said.extend_from_slice(&out[..length]);
    }
}

/// What `from` has said reaches `to` in pieces, maybe damaged.
fn deliver(from: &mut Peer, to: &mut Peer, random: &mut Random, damage: bool) -> Result<(), Error> {
    let mut bytes = std::mem::take(&mut from.said);
    if damage && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + random.below(rest.len()));
        to.hear(piece)?;
        rest = after;
    }
    Ok(())
}

fn begin() -> (Peer, Peer) {
    let mut client = Peer::new(Channel::client(&mesh().client).unwrap());
    client.hear(&[]).unwrap();
    let hello = Hello::read(&first_message(&client.said).unwrap());
    assert!(hello.speaks_1_3 && hello.groups.contains(&0x11ec));
    let server = Peer::new(Channel::server(mesh().server.settings(&hello)).unwrap());
    (client, server)
}

fn shaken(random: &mut Random) -> (Peer, Peer) {
    let (mut client, mut server) = begin();
    while client.state == State::Shaking || server.state == State::Shaking {
        deliver(&mut client, &mut server, random, false).unwrap();
        deliver(&mut server, &mut client, random, false).unwrap();
    }
    (client, server)
}

#[test]
fn bytes_arrive_whole_however_they_are_cut() {
    let mut random = Random(1);
    for length in [0, 1, 100, MOST_PLAIN - 1, MOST_PLAIN, MOST_PLAIN + 1, 5 * MOST_PLAIN] {
        let (mut client, mut server) = shaken(&mut random);
        let plain: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        for piece in plain.chunks(1 + random.below(length + 1)) {
            client.say(piece);
        }
        deliver(&mut client, &mut server, &mut random, false).unwrap();
        assert!(server.heard == plain, "{length}");
        client.channel.close(&mut client.said).unwrap();
        deliver(&mut client, &mut server, &mut random, false).unwrap();
        assert_eq!(server.state, State::Ended);
        // The other direction goes on.
        server.say(b"last words");
        deliver(&mut server, &mut client, &mut random, false).unwrap();
        assert_eq!(client.heard, b"last words");
    }
}

#[test]
fn a_damaged_handshake_is_none_and_nothing_panics() {
    let mut random = Random(2);
    for _ in 0..400 {
        let (mut client, mut server) = begin();
        let flight = random.below(3);
        let outcome = (0..4).try_for_each(|turn| {
            deliver(&mut client, &mut server, &mut random, turn * 2 == flight)?;
            deliver(&mut server, &mut client, &mut random, turn * 2 + 1 == flight)
        });
        // A flipped bit in the version of a record is nothing that anybody looks at.
        if outcome.is_ok() && client.state == State::Open && server.state == State::Open {
            client.say(b"hello");
            deliver(&mut client, &mut server, &mut random, false).unwrap();
            assert_eq!(server.heard, b"hello");
        }
        assert!(client.heard.is_empty());
    }
}

#[test]
fn of_damaged_records_nothing_is_passed_on() {
    let mut random = Random(3);
    for _ in 0..200 {
        let (mut client, mut server) = shaken(&mut random);
        client.said.clear();
        client.say(&[7; 1000]);
        let outcome = deliver(&mut client, &mut server, &mut random, true);
        // The damage may be in the length, and then more is waited for.
        assert!(outcome.is_err() || server.heard.is_empty() || server.heard == [7; 1000]);
        assert!(server.heard.iter().all(|&byte| byte == 7));
    }
}

#[test]
fn a_record_that_is_longer_than_any_is_refused() {
    let mut random = Random(4);
    let (_, mut server) = shaken(&mut random);
    let refused = server.hear(&[23, 3, 3, 0xff, 0xff]);
    assert!(refused.is_err());
}

/// RFC 8446 §4.2.8.
const KEY_SHARE: u16 = 51;

/// The client's first record, with no key in it: the server has to ask for one.
fn without_key(record: &[u8]) -> Vec<u8> {
    let number = |at: usize| usize::from(u16::from_be_bytes([record[at], record[at + 1]]));
    // Version, random, session, suites and compression are before the extensions.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(record[session]);
    let compression = suites + 2 + number(suites);
    let extensions = compression + 1 + usize::from(record[compression]);
    let mut kept = Vec::new();
    let mut at = extensions + 2;
    while at < record.len() {
        let end = at + 4 + number(at + 2);
        let is_key = number(at) == usize::from(KEY_SHARE);
        kept.extend_from_slice(if is_key { &[0, 51, 0, 2, 0, 0] } else { &record[at..end] });
        at = end;
    }
    let body = [&record[9..extensions], &(kept.len() as u16).to_be_bytes(), &kept].concat();
    let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

#[test]
fn a_client_is_asked_for_a_key_once() {
    let (client, mut server) = begin();
    let hello = without_key(&client.said);
    server.hear(&hello).unwrap();
    assert_eq!(server.state, State::Shaking);
    // A HelloRetryRequest, which is a ServerHello (RFC 8446 §4.1.3).
    assert_eq!((server.said[0], server.said[5]), (22, 2));
    let said = server.said.len();
    assert!(server.hear(&hello).is_err());
    // It has said nothing but why.
    assert_eq!(server.said[said], 21);
}

/// Of whoever sends a message of 16 MiB, a record of one byte at a time: a server that does not answer never sees more.
#[test]
fn the_beginning_of_a_message_in_pieces_of_one_byte_is_kept_up_to_a_bound() {
    let (_, mut server) = begin();
    let begin = [22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    let mut outcome = server.hear(&begin);
    let mut sent = begin.len();
    while outcome.is_ok() {
        assert!(server.channel.kept() <= MOST_KEPT && sent <= MOST_KEPT, "{sent}");
        outcome = server.hear(&[22, 3, 1, 0, 1, 0]);
        sent += 6;
    }
    assert!(server.heard.is_empty());
}

/// RFC 8446 §5.5: 2^24.5 records of AES-GCM. rustls changes its keys before that, in the midst of what is sealed.
#[test]
#[ignore = "takes half a minute; cargo test -- --ignored"]
fn a_connection_outlives_its_keys() {
    const BATCH: [u8; 10_000] = [7; 10_000];
    let mut random = Random(5);
    let (mut client, mut server) = shaken(&mut random);
    let mut out = [0; 256];
    for round in 0..1_700 {
        for _ in 0..BATCH.len() {
            let length = client.channel.seal(&BATCH[..1], &mut out, &mut client.said).unwrap();
            client.said.extend_from_slice(&out[..length]);
        }
        let bytes = std::mem::take(&mut client.said);
        bytes.chunks(MOST_PLAIN).for_each(|piece| server.hear(piece).unwrap());
        assert!(server.heard == BATCH, "{round}");
        server.heard.clear();
    }
}
