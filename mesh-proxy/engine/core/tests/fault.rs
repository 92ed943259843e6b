//! A fault in a thread of the engine ends the process, and says where it was.

use engine_core::engine::{Engine, Listen, Opening, Settings};
use engine_core::limits::{Limits, Share, Timeouts};
use engine_core::route::{PortSettings, Secured, Target};
use std::collections::HashMap;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

const CHILD: &str = "ENGINE_FAULT_CHILD";
const SIGABRT: i32 = 6;

fn settings() -> Settings {
    let share = Share { total: 100, per_source: 100 };
    let second = Duration::from_secs(1);
    Settings {
        threads: 2,
        limits: Limits { ingress: share, egress: 100, handshakes: share, held_bytes: share, descriptors: 1000 },
        timeouts: Timeouts { handshake: second, upstream: second, stalled: second },
        has_access_log: false,
        resumes: true,
    }
}

/// What is told of a refused connection is told by the thread that refused it.
fn faulty() {
    let engine = Engine::start(&settings(), Box::new(|| panic!("a fault of the test"))).unwrap();
    let nowhere = "127.85.2.1:1".parse().unwrap();
    let opened = engine.open(Opening {
        listen: Listen::At("127.85.2.2:0".parse().unwrap()),
        is_egress: false,
        secured: Secured::Nothing,
        target: Target::Address(nowhere),
        host: String::new(),
        pinned: None,
        ports: HashMap::new(),
        otherwise: PortSettings::default(),
    });
    let (_, address) = opened.unwrap();
    let _client = TcpStream::connect(address.unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(20));
}

#[test]
fn a_fault_ends_the_process_and_says_where_it_was() {
    if std::env::var_os(CHILD).is_some() {
        return faulty();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.arg("--nocapture").env(CHILD, "1").output().unwrap();
    assert_eq!(output.status.signal(), Some(SIGABRT));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("a fault of the test") && told.contains("engine-"), "{told}");
}
