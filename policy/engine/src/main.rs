//! Answers requests by policies as the Kata agent does, for tests: JSON lines in, one JSON line out for each.
//!
//! - `{"policy": NAME, "rego": TEXT}` makes an agent with that policy. The answer has `error` if the engine refuses it.
//! - `{"policy": NAME, "kind": KIND, "request": REQUEST}` asks that agent. With `state` it forgets what it remembers, and
//!   has that in its place (`data.pstate`).

mod agent;

use std::collections::HashMap;
use std::io::{stdin, stdout, BufRead, Write};

use agent::{Agent, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Policy {
        policy: String,
        rego: String,
    },
    Request {
        policy: String,
        kind: String,
        request: Value,
        state: Option<Value>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Error { error: String },
    Loaded { policy: String },
    Reply(Reply),
}

fn main() {
    let mut agents: HashMap<String, Agent> = HashMap::new();
    let mut output = stdout().lock();
    for line in stdin().lock().lines() {
        let line = line.expect("lines of text");
        let answer = answer(
            &mut agents,
            serde_json::from_str(&line).expect("a line as main.rs describes it"),
        );
        let text = serde_json::to_string(&answer).expect("JSON");
        writeln!(output, "{text}")
            .and_then(|()| output.flush())
            .expect("a reader");
    }
}

fn answer(agents: &mut HashMap<String, Agent>, line: Line) -> Answer {
    match line {
        Line::Policy { policy, rego } => match Agent::new(rego) {
            Ok(agent) => {
                agents.insert(policy.clone(), agent);
                Answer::Loaded { policy }
            }
            Err(error) => Answer::Error { error },
        },
        Line::Request {
            policy,
            kind,
            request,
            state,
        } => {
            let agent = agents
                .get_mut(&policy)
                .expect("a policy that was given before");
            if let Some(state) = state {
                agent.set_state(state);
            }
            Answer::Reply(agent.ask(&kind, &request.to_string()))
        }
    }
}
