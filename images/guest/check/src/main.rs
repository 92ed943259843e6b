//! The first thing that a hardened guest does before it serves anything: `guest-check AGENT [ARGUMENT…]`.
//!
//! It reads the initdata device once, compares the SHA-256 of the document with HOST_DATA or MRCONFIGID of a report that
//! it asks for itself, and becomes the agent, which sees only that copy. Whatever else happens, the VM is powered off.

mod disks;
mod handover;
mod initdata;
mod ioctl;
mod refusal;
mod report;

use initdata::Document;
use refusal::{Refusal, Result};
use rustix::system::{reboot, RebootCommand};
use std::env::args_os;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// The second process: it waits for the agent, and takes the document from its standard input.
const WAIT: &str = "--wait-for-agent";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = args_os().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [first] if first == WAIT => wait(),
        [agent, others @ ..] => start(agent, others),
        [] => Err(Refusal::new("usage", "guest-check AGENT [ARGUMENT...]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            tell(2, &format!("{refusal}; the VM is powered off"));
            if let Err(error) = reboot(RebootCommand::PowerOff) {
                tell(2, &format!("power off: {error}"));
            }
            // The unit powers off when it fails.
            ExitCode::FAILURE
        }
    }
}

/// Returns only where something is wrong.
fn start(agent: &OsString, arguments: &[OsString]) -> Result<()> {
    let path = disks::find()?;
    let device =
        File::open(&path).map_err(Refusal::while_doing("device_read", "the initdata device"))?;
    let document = Document::read(device)?;
    let digest = document.digest();
    report::compare(&digest)?;
    handover::cover(&document)?;
    let plain = handover::sealed("document", document.bytes())
        .map_err(Refusal::while_doing("handover", "the document"))?;
    Command::new("/proc/self/exe")
        .arg(WAIT)
        .stdin(Stdio::from(plain))
        .spawn()
        .map_err(Refusal::while_doing("handover", "the second process"))?;
    tell(
        5,
        &format!("the initdata is {}, as the CPU says", report::hex(&digest)),
    );
    let error = Command::new(agent).args(arguments).exec();
    Err(Refusal::new(
        "agent",
        format!("{}: {error}", agent.to_string_lossy()),
    ))
}

fn wait() -> Result<()> {
    let document = handover::contents(std::io::stdin().lock())?;
    handover::uncover(&document)?;
    tell(5, "the agent has read the initdata; its disks are there");
    Ok(())
}

/// To the log of the kernel, which goes to every console, with a level of syslog(3).
fn tell(level: u8, line: &str) {
    if fs::write(
        "/dev/kmsg",
        format!("<{level}>contrast-guest-check: {line}"),
    )
    .is_err()
    {
        eprintln!("contrast-guest-check: {line}");
    }
}
