//! Why a VM is powered off: a code that stays the same, and a sentence.

use std::fmt;

#[derive(Debug)]
pub struct Refusal {
    /// Stable; docs/guest-image.md lists all of them.
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// For operations of the system that failed: what was tried comes first.
    pub fn while_doing<E: fmt::Display>(
        code: &'static str,
        what: &'static str,
    ) -> impl Fn(E) -> Self {
        move |error| Self::new(code, format!("{what}: {error}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

pub type Result<T> = std::result::Result<T, Refusal>;
