//! For tests, in VMs without a TEE: `report-device FOLDER HOST_DATA KIND` shows the files of configfs-tsm there by FUSE
//! (linux/include/uapi/linux/fuse.h, protocol 7.31), and answers with reports as an SEV-SNP firmware would.
//! KIND is `snp`, `stale` (REPORT_DATA of somebody else), `silent` (outblob can't be read) or the name of another provider.

use rustix::mount::{mount, MountFlags};
use std::env::args;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::fd::AsRawFd;

const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const MKDIR: u32 = 9;
const RMDIR: u32 = 11;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const NO_REPLY: [u32; 3] = [2, 36, 42];

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;

const ROOT: u64 = 1;
const REPORT: u64 = 2;
const FILES: [&str; 4] = ["provider", "inblob", "outblob", "generation"];

struct Device {
    kind: String,
    host_data: Vec<u8>,
    folder: Option<Vec<u8>>,
    inblob: Vec<u8>,
    generation: u32,
}

type Answer = std::result::Result<Vec<u8>, i32>;

fn main() -> Result<()> {
    let arguments: Vec<String> = args().skip(1).collect();
    let [folder, host_data, kind] = arguments.as_slice() else {
        panic!("report-device FOLDER HOST_DATA KIND")
    };
    let host_data: std::result::Result<Vec<u8>, _> = (0..host_data.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&host_data[at..at + 2], 16))
        .collect();
    let mut device = Device {
        kind: kind.clone(),
        host_data: host_data.expect("hexadecimal digits"),
        folder: None,
        inblob: Vec::new(),
        generation: 0,
    };
    let mut fuse = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = CString::new(format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        fuse.as_raw_fd()
    ))?;
    mount(
        "report-device",
        folder,
        "fuse",
        MountFlags::NOSUID,
        Some(options.as_c_str()),
    )?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = fuse.read(&mut buffer)?;
        let message = &buffer[..length];
        let opcode = number(message, 4);
        if NO_REPLY.contains(&opcode) {
            continue;
        }
        let node = u64::from_le_bytes(message[16..24].try_into().unwrap());
        let (error, body) = match device.answer(opcode, node, &message[40..]) {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = (16 + body.len() as u32).to_le_bytes().to_vec();
        reply.extend_from_slice(&error.to_le_bytes());
        reply.extend_from_slice(&message[8..16]);
        reply.extend_from_slice(&body);
        fuse.write_all(&reply)?;
    }
}

impl Device {
    fn answer(&mut self, opcode: u32, node: u64, body: &[u8]) -> Answer {
        match opcode {
            INIT => Ok([&[7, 31, 4096, 0, 0, 65536, 1, 0, 0][..], &[0; 7]]
                .concat()
                .iter()
                .flat_map(|part: &u32| part.to_le_bytes())
                .collect()),
            LOOKUP => self.lookup(node, name(body)).map(entry),
            GETATTR | SETATTR => Ok([vec![0; 16], attributes(node)].concat()),
            MKDIR if self.folder.is_some() => Err(EEXIST),
            MKDIR => {
                self.folder = Some(name(&body[8..]).to_vec());
                Ok(entry(REPORT))
            }
            RMDIR => {
                self.folder = None;
                Ok(Vec::new())
            }
            OPEN => Ok([vec![0; 8], vec![1, 0, 0, 0, 0, 0, 0, 0]].concat()),
            READ => {
                let content = self.content(node)?;
                let offset = (number(body, 8) as usize).min(content.len());
                let end = (offset + number(body, 16) as usize).min(content.len());
                Ok(content[offset..end].to_vec())
            }
            WRITE => {
                let size = number(body, 16);
                self.inblob = body[40..40 + size as usize].to_vec();
                self.generation += 1;
                Ok([size.to_le_bytes(), [0; 4]].concat())
            }
            RELEASE | FLUSH => Ok(Vec::new()),
            _ => Err(ENOSYS),
        }
    }

    fn lookup(&self, node: u64, name: &[u8]) -> std::result::Result<u64, i32> {
        if node == ROOT {
            return if self.folder.as_deref() == Some(name) {
                Ok(REPORT)
            } else {
                Err(ENOENT)
            };
        }
        let found = FILES.iter().position(|file| file.as_bytes() == name);
        found.map(|index| REPORT + 1 + index as u64).ok_or(ENOENT)
    }

    fn content(&self, node: u64) -> Answer {
        match FILES[(node - REPORT - 1) as usize] {
            "provider" if matches!(self.kind.as_str(), "snp" | "stale" | "silent") => {
                Ok(b"sev_guest\n".to_vec())
            }
            "provider" => Ok(format!("{}\n", self.kind).into_bytes()),
            "generation" => Ok(format!("{}\n", self.generation).into_bytes()),
            "outblob" if self.kind == "silent" => Err(EIO),
            "outblob" if self.inblob.len() == 64 => Ok(self.report()),
            _ => Err(EINVAL),
        }
    }

    /// ATTESTATION_REPORT, version 3, with the fields that are looked at.
    fn report(&self) -> Vec<u8> {
        let mut report = vec![0; 0x4a0];
        report[0] = 3;
        if self.kind != "stale" {
            report[0x50..0x90].copy_from_slice(&self.inblob);
        }
        report[0xc0..0xe0].copy_from_slice(&self.host_data);
        report
    }
}

fn number(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn name(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn entry(node: u64) -> Vec<u8> {
    [node.to_le_bytes().to_vec(), vec![0; 32], attributes(node)].concat()
}

fn attributes(node: u64) -> Vec<u8> {
    let mode: u32 = if node <= REPORT { 0o40755 } else { 0o100_644 };
    let mut attributes = vec![0; 88];
    attributes[..8].copy_from_slice(&node.to_le_bytes());
    attributes[60..64].copy_from_slice(&mode.to_le_bytes());
    attributes[64] = 1;
    attributes
}
