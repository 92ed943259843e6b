//! Events, as JavaScript has them: one shape for all kinds.

use engine_core::Facts;
use engine_core::event::{At, Batch, Event as Told};
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use std::net::SocketAddr;

#[napi(object)]
#[derive(Default)]
pub struct Event {
    /// `fault`, `ended`, `lookup`, `paused` or `notAccepted`.
    pub kind: String,
    pub route: u32,
    pub rule: Option<u32>,
    pub peer: Option<String>,
    pub local: Option<String>,
    /// Who it is counted for.
    pub source: Option<String>,
    pub code: Option<String>,
    pub got: Option<String>,
    /// The peer's, DER.
    pub certificate: Option<Buffer>,
    pub upstream: Option<String>,
    pub tls: Option<Tls>,
    pub outcome: Option<String>,
    pub was_joined: Option<bool>,
    pub up: Option<f64>,
    pub down: Option<f64>,
    pub millis: Option<f64>,
}

#[napi(object)]
pub struct Tls {
    pub version: String,
    pub cipher: String,
    pub group: Option<String>,
    pub resumed: bool,
}

pub fn taken(Batch { events, lookups }: Batch) -> Vec<Event> {
    let lookups = lookups.into_iter().map(|route| Event { kind: "lookup".into(), route, ..Event::default() });
    lookups.chain(events.into_iter().map(event)).collect()
}

fn event(told: Told) -> Event {
    match told {
        Told::Fault { at, source, fault, certificate } => Event {
            kind: "fault".into(),
            source: Some(source),
            code: Some(fault.code.text().into()),
            got: (!fault.got.is_empty()).then(|| fault.got.into_owned()),
            certificate: certificate.map(Buffer::from),
            ..begun(at)
        },
        Told::Ended { at, upstream, facts, end } => {
            let facts = facts.filter(|_| end.was_joined).map(|facts| *facts);
            Event {
                kind: "ended".into(),
                upstream: upstream.map(shown),
                code: end.reason.map(str::to_owned),
                outcome: Some(end.outcome.text().into()),
                was_joined: Some(end.was_joined),
                up: Some(end.up as f64),
                down: Some(end.down as f64),
                millis: Some(end.millis as f64),
                tls: facts.as_ref().map(tls),
                certificate: facts.and_then(|facts| facts.certificate).map(Buffer::from),
                ..begun(at)
            }
        }
        Told::Paused { route } => Event { kind: "paused".into(), route, ..Event::default() },
        Told::NotAccepted { route, error } => Event {
            kind: "notAccepted".into(),
            route,
            got: Some(engine_core::code::errno_name(error).into_owned()),
            ..Event::default()
        },
    }
}

fn begun(At { route, rule, peer, local }: At) -> Event {
    Event { route, rule: Some(rule), peer: peer.map(shown), local: local.map(shown), ..Event::default() }
}

fn shown(address: SocketAddr) -> String {
    address.to_string()
}

fn tls(facts: &Facts) -> Tls {
    Tls {
        version: facts.version.into(),
        cipher: facts.cipher.clone(),
        group: facts.group.map(str::to_owned),
        resumed: facts.is_resumed,
    }
}
