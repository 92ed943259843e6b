//! Finds the initdata device among all disks.

use crate::initdata::MAGIC;
use crate::refusal::{Refusal, Result};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The only disk or partition that begins as an initdata device. Codes: no_initdata, two_initdata.
pub fn find() -> Result<PathBuf> {
    for attempt in 0..ATTEMPTS {
        // The kernel may still be looking for disks.
        if attempt > 0 {
            sleep(PAUSE);
        }
        let found = candidates()?;
        match found.as_slice() {
            [] => {}
            [device] => return Ok(device.clone()),
            [first, second, ..] => {
                return Err(Refusal::new(
                    "two_initdata",
                    format!("{} and {}", first.display(), second.display()),
                ))
            }
        }
    }
    Err(Refusal::new("no_initdata", "no disk holds initdata"))
}

fn candidates() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir("/sys/class/block")
        .map_err(Refusal::while_doing("no_initdata", "/sys/class/block"))?
        .flatten()
        .filter(|entry| !is_virtual(&entry.path()))
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .filter(|device| begins_with_magic(device))
        .collect();
    found.sort();
    Ok(found)
}

/// Loop devices, RAM disks and what the device mapper makes: nothing of the host's.
fn is_virtual(entry: &Path) -> bool {
    fs::canonicalize(entry).is_ok_and(|path| path.starts_with("/sys/devices/virtual"))
}

fn begins_with_magic(device: &Path) -> bool {
    let mut start = [0; 8];
    fs::metadata(device).is_ok_and(|metadata| metadata.file_type().is_block_device())
        && File::open(device)
            .and_then(|mut file| file.read_exact(&mut start))
            .is_ok()
        && &start == MAGIC
}
