//! What Node sees of the engine: mesh-proxy/native/addon.ts has the same shapes in TypeScript. Nothing passes here per byte
//! or per packet. The `unsafe` code of this crate is what napi-derive generates for calls from and to JavaScript.

mod events;
mod opening;

use engine_core::engine::{Engine, Settings};
use engine_core::limits::{Limits, Share, Timeouts};
use events::{Event, taken};
use napi::bindgen_prelude::{Buffer, Function};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Error, Result};
use napi_derive::napi;
use opening::{Opened, Opening};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

#[napi(object)]
pub struct EngineSettings {
    pub threads: u32,
    pub ingress_connections: f64,
    pub ingress_connections_of_source: f64,
    pub egress_connections: f64,
    pub handshakes: f64,
    pub handshakes_of_source: f64,
    pub held_bytes: f64,
    pub held_bytes_of_source: f64,
    /// From this number on a descriptor is one of those that are kept free.
    pub descriptors: f64,
    pub handshake_ms: f64,
    pub upstream_ms: f64,
    pub stalled_ms: f64,
    pub has_access_log: bool,
    pub resumes: bool,
}

#[napi(object)]
pub struct Credentials {
    pub cert_chain: Buffer,
    pub key: Buffer,
    pub mesh_ca: Buffer,
    /// Whether TLS 1.2 is allowed.
    pub allows_1_2: bool,
}

#[napi(object)]
pub struct RuleCounts {
    pub open: f64,
    pub completed: f64,
    pub refused: f64,
    pub broken: f64,
    pub refusals: Vec<Refusals>,
    pub up: f64,
    pub down: f64,
    pub buffered: f64,
    /// Of each bucket, not summed up.
    pub handshakes: Vec<f64>,
    pub handshake_seconds: f64,
}

#[napi(object)]
pub struct Refusals {
    pub code: String,
    pub count: f64,
}

#[napi(object)]
pub struct Used {
    pub ingress: f64,
    pub ingress_of_source: f64,
    pub egress_of_route: f64,
    pub handshakes: f64,
    pub handshakes_of_source: f64,
    pub handshakes_waiting: f64,
    pub held_bytes: f64,
    pub held_bytes_of_source: f64,
    pub events_lost: f64,
}

#[napi]
pub struct NativeEngine(Option<Engine>);

const MOST_THREADS: u16 = 1024;

/// The largest integer that JavaScript counts to. A clock can be set forward by so many milliseconds.
const MOST_MILLIS: f64 = 9_007_199_254_740_991.0;

fn millis(ms: f64) -> Result<Duration> {
    let is_time = (0.0..=MOST_MILLIS).contains(&ms);
    let millis = is_time.then(|| Duration::from_millis(ms as u64));
    millis.ok_or_else(|| Error::from_reason("a time of 0 to 2^53 milliseconds is wanted"))
}

/// Gathers entropy, which takes as long as all the rest of the start, on a thread of its own. Nobody has to wait for it.
#[napi]
pub fn prepare() {
    // Without the thread it takes the time later.
    let _ = std::thread::Builder::new().name("entropy".to_owned()).spawn(engine_core::gather_entropy);
}

/// Starts the threads. `onEvents` is called when there are events to take.
#[napi]
pub fn create(settings: EngineSettings, on_events: Function<'_, (), ()>) -> Result<NativeEngine> {
    let threads = u16::try_from(settings.threads).ok().filter(|threads| (1..=MOST_THREADS).contains(threads));
    let threads = threads.ok_or_else(|| Error::from_reason("an engine has 1 to 1024 threads"))?;
    let on_events = on_events.build_threadsafe_function().build_callback(|_| Ok(()))?;
    let tell = move || {
        on_events.call((), ThreadsafeFunctionCallMode::NonBlocking);
    };
    let share = |total: f64, per_source: f64| Share { total: total as u64, per_source: per_source as u64 };
    let engine = Engine::start(
        &Settings {
            threads,
            limits: Limits {
                ingress: share(settings.ingress_connections, settings.ingress_connections_of_source),
                egress: settings.egress_connections as u64,
                handshakes: share(settings.handshakes, settings.handshakes_of_source),
                held_bytes: share(settings.held_bytes, settings.held_bytes_of_source),
                descriptors: settings.descriptors as u64,
            },
            timeouts: Timeouts {
                handshake: millis(settings.handshake_ms)?,
                upstream: millis(settings.upstream_ms)?,
                stalled: millis(settings.stalled_ms)?,
            },
            has_access_log: settings.has_access_log,
            resumes: settings.resumes,
        },
        Box::new(tell),
    );
    Ok(NativeEngine(Some(engine.map_err(|error| Error::from_reason(error.to_string()))?)))
}

#[napi]
impl NativeEngine {
    fn running(&self) -> Result<&Engine> {
        self.0.as_ref().ok_or_else(|| Error::from_reason("the engine has ended"))
    }

    /// New connections are made with it when it returns; an error changes nothing.
    #[napi]
    pub fn set_credentials(&self, credentials: Credentials) -> Result<()> {
        let Credentials { cert_chain, key, mesh_ca, allows_1_2 } = credentials;
        let read = engine_core::Credentials::read(&cert_chain, &key, &mesh_ca).map_err(Error::from_reason)?;
        self.running()?.set_credentials(read, allows_1_2).map_err(Error::from_reason)
    }

    /// Listens when it returns. An error has the name of the system's, such as EADDRINUSE.
    #[napi]
    pub fn open(&self, opening: Opening) -> Result<Opened> {
        let (id, address) = self.running()?.open(opening.read()?).map_err(Error::from_reason)?;
        Ok(Opened { id, address: address.map(|address| address.to_string()) })
    }

    /// Answers the event `lookup`: addresses with ports, or why there are none.
    #[napi]
    pub fn set_addresses(&self, route: u32, addresses: Vec<String>, why: Option<String>) -> Result<()> {
        let read = addresses.iter().map(|text| text.parse::<SocketAddr>()).collect::<std::result::Result<Vec<_>, _>>();
        let read = read.map_err(|_| Error::from_reason("an address that can't be read"))?;
        let why = why.or_else(|| read.is_empty().then(|| "no address".to_owned()));
        self.running()?.set_addresses(route, why.as_deref().map_or(Ok(&read[..]), Err));
        Ok(())
    }

    /// Accepts no more connections of a route.
    #[napi]
    pub fn stop(&self, route: u32) -> Result<()> {
        self.running()?.stop(route);
        Ok(())
    }

    #[napi]
    pub fn reset_all(&self) -> Result<()> {
        self.running()?.reset_all();
        Ok(())
    }

    /// Resets connections for which the kernel holds so many bytes together.
    #[napi]
    pub fn shed(&self, bytes: f64) -> Result<()> {
        self.running()?.shed(bytes as u64);
        Ok(())
    }

    #[napi]
    pub fn take_events(&self) -> Result<Vec<Event>> {
        Ok(taken(self.running()?.take_events()))
    }

    /// By the numbers of the rules.
    #[napi]
    pub fn counts(&self) -> Result<Vec<RuleCounts>> {
        Ok(self.running()?.rules().iter().map(|rule| counted(rule)).collect())
    }

    #[napi]
    pub fn used(&self) -> Result<Used> {
        let engine = self.running()?;
        let used = engine.used();
        Ok(Used {
            ingress: used.ingress as f64,
            ingress_of_source: used.ingress_of_one_source as f64,
            egress_of_route: used.egress_of_one_route as f64,
            handshakes: used.handshakes as f64,
            handshakes_of_source: used.handshakes_of_one_source as f64,
            handshakes_waiting: used.handshakes_waiting as f64,
            held_bytes: used.held_bytes as f64,
            held_bytes_of_source: used.held_bytes_of_one_source as f64,
            events_lost: engine.events_lost() as f64,
        })
    }

    /// Ends all threads, and with them what connections are left. To say it again does nothing.
    #[napi]
    pub fn exit(&mut self) {
        if let Some(engine) = self.0.take() {
            engine.exit();
        }
    }
}

fn counted(rule: &engine_core::counts::RuleCounts) -> RuleCounts {
    let (handshakes, handshake_seconds) = rule.handshakes();
    RuleCounts {
        open: rule.open.load(Relaxed) as f64,
        completed: rule.completed.load(Relaxed) as f64,
        refused: rule.refused.load(Relaxed) as f64,
        broken: rule.broken.load(Relaxed) as f64,
        refusals: rule
            .refusals()
            .into_iter()
            .map(|(code, count)| Refusals { code: code.text().into(), count: count as f64 })
            .collect(),
        up: rule.up.load(Relaxed) as f64,
        down: rule.down.load(Relaxed) as f64,
        buffered: rule.buffered.load(Relaxed) as f64,
        handshakes: handshakes.into_iter().map(|count| count as f64).collect(),
        handshake_seconds,
    }
}
