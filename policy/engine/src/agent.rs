//! What the Kata agent does with its policy (kata-containers 4.1.0, src/agent/policy/src/policy.rs and
//! src/agent/src/policy.rs).

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Instant;

use regorus::{Engine, PolicyLengthConfig, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

const MAX_COLUMNS: NonZeroU32 = NonZeroU32::new(64 * 1024).unwrap();
const MAX_BYTES: NonZeroUsize = NonZeroUsize::new(16 * 1024 * 1024).unwrap();
const MAX_LINES: NonZeroUsize = NonZeroUsize::new(200_000).unwrap();

pub struct Agent {
    engine: Engine,
    /// `data.pstate`: what it remembers.
    state: serde_json::Value,
}

/// What becomes of a request.
#[derive(Serialize)]
pub struct Reply {
    pub allowed: bool,
    /// What the runtime is told, if it is not allowed.
    pub message: String,
    /// The policy's own answer; null: none.
    pub value: serde_json::Value,
    /// What the agent remembers after it.
    pub state: serde_json::Value,
    /// How long the policy took to answer.
    pub microseconds: u64,
}

/// A policy's answer, if it is not just true or false.
#[derive(Deserialize)]
struct Metadata {
    allowed: bool,
    ops: Option<json_patch::Patch>,
}

impl Agent {
    /// Fails if the engine does not take the policy, or if it would allow everything.
    pub fn new(rego: String) -> Result<Self, String> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(false);
        engine.set_gather_prints(true);
        engine.set_policy_length_config(PolicyLengthConfig {
            max_col: MAX_COLUMNS,
            max_file_bytes: MAX_BYTES,
            max_lines: MAX_LINES,
        });
        engine
            .add_policy("agent_policy".to_string(), rego)
            .map_err(|error| error.to_string())?;
        let mut agent = Self {
            engine,
            state: json!(null),
        };
        agent.set_state(json!({}));
        if agent.ask("AllowRequestsFailingPolicy", "{}").allowed {
            return Err(
                "AllowRequestsFailingPolicy: the agent would allow every request".to_string(),
            );
        }
        Ok(agent)
    }

    pub fn set_state(&mut self, state: serde_json::Value) {
        if state == self.state {
            return;
        }
        let data = json!({ "pstate": state }).to_string();
        self.engine.clear_data();
        self.engine
            .add_data(Value::from_json_str(&data).expect("JSON"))
            .expect("an object");
        self.state = state;
    }

    pub fn ask(&mut self, kind: &str, request: &str) -> Reply {
        let began = Instant::now();
        let answer = self.evaluate(kind, request);
        let microseconds = began.elapsed().as_micros() as u64;
        let (value, prints) = match answer {
            Ok(found) => found,
            Err(error) => {
                return self.reply(
                    false,
                    format!("{kind}: internal error {error}"),
                    json!(null),
                    microseconds,
                )
            }
        };
        match self.decide(&value) {
            Ok(true) => self.reply(true, String::new(), value, microseconds),
            Ok(false) => self.reply(
                false,
                format!("{kind} is blocked by policy: {prints}"),
                value,
                microseconds,
            ),
            Err(error) => self.reply(
                false,
                format!("{kind}: internal error {error}"),
                value,
                microseconds,
            ),
        }
    }

    fn evaluate(
        &mut self,
        kind: &str,
        request: &str,
    ) -> Result<(serde_json::Value, String), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        self.engine
            .set_input_json(request)
            .map_err(|error| text(&error))?;
        let query = format!("data.agent_policy.{kind}");
        let results = self
            .engine
            .eval_query(query, false)
            .map_err(|error| text(&error))?;
        let prints = self
            .engine
            .take_prints()
            .map_err(|error| text(&error))?
            .join(" ");
        match results.result.as_slice() {
            [one] if one.expressions.len() == 1 => {
                let value = serde_json::to_value(&one.expressions[0].value)
                    .map_err(|error| text(&error))?;
                Ok((value, prints))
            }
            others => Err(format!(
                "policy check: unexpected eval_query result len {}",
                others.len()
            )),
        }
    }

    fn decide(&mut self, value: &serde_json::Value) -> Result<bool, String> {
        if let Some(allowed) = value.as_bool() {
            return Ok(allowed);
        }
        let Metadata { allowed, ops } =
            serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        if let (true, Some(ops)) = (allowed, ops) {
            let mut data = json!({ "pstate": self.state });
            json_patch::patch(&mut data, &ops).map_err(|error| error.to_string())?;
            self.set_state(data["pstate"].take());
        }
        Ok(allowed)
    }

    fn reply(
        &self,
        allowed: bool,
        message: String,
        value: serde_json::Value,
        microseconds: u64,
    ) -> Reply {
        Reply {
            allowed,
            message,
            value,
            state: self.state.clone(),
            microseconds,
        }
    }
}
