//! What all threads have in common.

use crate::admission::Admission;
use crate::counts::RuleCounts;
use crate::event::Ring;
use crate::inbox::{Command, ConnectionId, Inbox};
use crate::limits::{Limits, Timeouts};
use crate::route::{Route, Rules};
use crate::shed::Weighing;
use crate::tls::client::ClientSide;
use crate::tls::credentials::Credentials;
use crate::tls::server::ServerSide;
use rustls::Error;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub struct Shared {
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub has_access_log: bool,
    pub resumes: bool,
    pub events: Ring,
    pub inboxes: Vec<Inbox>,
    pub admission: Mutex<Admission>,
    pub trust: RwLock<Option<Arc<Trust>>>,
    pub rules: RwLock<Rules>,
    pub weighing: Mutex<Weighing>,
}

impl Shared {
    pub fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of the certificate set in use.
    pub fn trust(&self) -> Option<Arc<Trust>> {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn rule(&self, number: u32) -> Arc<RuleCounts> {
        let at = number as usize;
        if let Some(rule) = self.rules.read().unwrap_or_else(PoisonError::into_inner).get(at) {
            return rule.clone();
        }
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        while rules.len() <= at {
            rules.push(Arc::default());
        }
        rules[at].clone()
    }

    pub fn tell(&self, id: ConnectionId, command: Command) {
        if let Some(inbox) = self.inboxes.get(usize::from(id.thread)) {
            inbox.push(command);
        }
    }

    pub fn tell_all(&self, command: impl Fn() -> Command) {
        for inbox in &self.inboxes {
            inbox.push(command());
        }
    }
}

/// All that TLS needs, of one certificate set. It is replaced as a whole, and with it the keys of tickets and the sessions
/// with upstreams: what was resumable is so no more.
pub struct Trust {
    pub mutual: ServerSide,
    pub server_only: ServerSide,
    credentials: Credentials,
    allows_1_2: bool,
    resumes: bool,
    clients: RwLock<HashMap<u32, ClientSide>>,
}

impl Trust {
    pub fn new(credentials: Credentials, allows_1_2: bool, resumes: bool) -> Result<Self, Error> {
        let mutual = ServerSide::new(&credentials, true, allows_1_2, resumes)?;
        let server_only = ServerSide::new(&credentials, false, allows_1_2, resumes)?;
        // An error is found now, not by the first connection.
        ClientSide::new(&credentials, "", allows_1_2, resumes)?;
        Ok(Self { mutual, server_only, credentials, allows_1_2, resumes, clients: RwLock::default() })
    }

    pub fn client(&self, route: &Route) -> Result<ClientSide, Error> {
        if let Some(client) = self.clients.read().unwrap_or_else(PoisonError::into_inner).get(&route.id) {
            return Ok(client.clone());
        }
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&route.id) {
            return Ok(client.clone());
        }
        let client = ClientSide::new(&self.credentials, &route.host, self.allows_1_2, self.resumes)?;
        clients.insert(route.id, client.clone());
        Ok(client)
    }
}
