//! Gives the agent the verified copy, and nothing that it could take for initdata.
//!
//! The agent reads the first device of /dev whose name begins with vd or sd and whose contents begin with "initdata". The
//! host can write to every disk at any time, and can plug in more. So the agent starts with a /dev of its own, in which
//! the only such name is a loop device over a sealed copy in memory. When the agent has written the document to
//! `AGENT_COPY`, it has read it, and the real /dev comes back.

use crate::initdata::Document;
use crate::ioctl;
use crate::refusal::{Refusal, Result};
use rustix::fs::{
    chown, fcntl_add_seals, lstat, major, makedev, memfd_create, minor, mknodat, FileType, Gid,
    MemfdFlags, Mode, SealFlags, Uid, CWD,
};
use rustix::mount::{
    mount, mount_bind_recursive, mount_change, mount_move, unmount, MountFlags,
    MountPropagationFlags, UnmountFlags,
};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// kata-containers, src/agent/src/initdata.rs: INITDATA_TOML_PATH
pub const AGENT_COPY: &str = "/run/confidential-containers/initdata/initdata.toml";
const STAGE: &str = "/run/contrast-dev";
/// A name that the agent looks at, and the kernel gives to no disk.
const COPY: &str = "vd-contrast";
const LOOP_MAJOR: u32 = 7;
const LOOP_DEVICES: u32 = 8;

const ATTEMPTS: u32 = 24_000;
const PAUSE: Duration = Duration::from_millis(5);

/// Covers /dev of this mount namespace. Code: handover.
pub fn cover(document: &Document) -> Result<()> {
    let own = fs::read_link("/proc/self/ns/mnt").map_err(failed("the mount namespace"))?;
    let first = fs::read_link("/proc/1/ns/mnt").map_err(failed("the first mount namespace"))?;
    if own == first {
        return Err(Refusal::new(
            "handover",
            "this is the first mount namespace; the unit wants PrivateMounts=yes",
        ));
    }
    if fs::symlink_metadata(AGENT_COPY).is_ok() {
        return Err(Refusal::new(
            "handover",
            format!("{AGENT_COPY} is there before the agent"),
        ));
    }
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(failed("propagation"))?;
    fs::create_dir_all(STAGE).map_err(failed(STAGE))?;
    mount(
        "contrast",
        STAGE,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"mode=0755"),
    )
    .map_err(failed(STAGE))?;
    for entry in fs::read_dir("/dev").map_err(failed("/dev"))? {
        let entry = entry.map_err(failed("/dev"))?;
        show(&entry.path(), &Path::new(STAGE).join(entry.file_name()))
            .map_err(failed("an entry of /dev"))?;
    }
    let copy = sealed("initdata", &document.to_device()).map_err(failed("a copy in memory"))?;
    attach(&copy)?;
    mount_move(STAGE, "/dev").map_err(failed("/dev"))
}

/// Uncovers /dev as soon as the agent has read the document. Code: agent_initdata.
pub fn uncover(document: &[u8]) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match fs::read(AGENT_COPY) {
            Ok(read) if read == document => {
                let device = File::open(Path::new("/dev").join(COPY));
                unmount("/dev", UnmountFlags::DETACH).map_err(failed("/dev"))?;
                // Only so that no device stays behind that nobody uses.
                let _ = device.map(|device| ioctl::detach(&device));
                return Ok(());
            }
            // It may be writing.
            Ok(read) if document.starts_with(&read) => {}
            Ok(_) => {
                return Err(Refusal::new(
                    "agent_initdata",
                    "the agent has other initdata than was verified",
                ))
            }
            Err(_) => {}
        }
        sleep(PAUSE);
    }
    Err(Refusal::new(
        "agent_initdata",
        "the agent has not read the initdata within two minutes",
    ))
}

/// A file that has no name, and that nobody can change any more.
pub fn sealed(name: &str, bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(
        name,
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.write_all(bytes)?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    // A descriptor that can only read: the loop device becomes one that can't be written.
    File::open(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&file)
    ))
}

/// Reads all that a sealed file has.
pub fn contents(mut file: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(failed("the document"))?;
    Ok(bytes)
}

/// Everything but disks: the agent has no use for them before it has read its initdata.
fn show(path: &Path, target: &Path) -> std::io::Result<()> {
    let metadata = lstat(path)?;
    match FileType::from_raw_mode(metadata.st_mode) {
        FileType::CharacterDevice => {
            let (mode, device) = (Mode::from_raw_mode(metadata.st_mode), metadata.st_rdev);
            mknodat(
                CWD,
                target,
                FileType::CharacterDevice,
                mode,
                makedev(major(device), minor(device)),
            )?;
            chown(
                target,
                Some(Uid::from_raw(metadata.st_uid)),
                Some(Gid::from_raw(metadata.st_gid)),
            )?;
            rustix::fs::chmod(target, mode)?;
        }
        FileType::Directory => {
            fs::create_dir(target)?;
            mount_bind_recursive(path, target)?;
        }
        FileType::Symlink => symlink(fs::read_link(path)?, target)?,
        _ => {}
    }
    Ok(())
}

fn attach(copy: &File) -> Result<()> {
    let path = Path::new(STAGE).join(COPY);
    let mut last = None;
    for number in 0..LOOP_DEVICES {
        let outcome = mknodat(
            CWD,
            &path,
            FileType::BlockDevice,
            Mode::RUSR,
            makedev(LOOP_MAJOR, number),
        )
        .map_err(std::io::Error::from)
        .and_then(|()| File::open(&path))
        .and_then(|device| ioctl::attach(&device, copy));
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        let _ = fs::remove_file(&path);
    }
    let why = last.map_or_else(String::new, |error| error.to_string());
    Err(Refusal::new(
        "handover",
        format!("no loop device is free: {why}"),
    ))
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Refusal {
    Refusal::while_doing("handover", what)
}
