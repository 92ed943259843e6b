//! What the CPU says about the digest of the initdata. Both ways end in something that the host can't answer in its
//! place, so no signature is checked:
//! - SEV-SNP: the firmware encrypts and authenticates its answer with a key that it shares with this VM alone (VMPCK; it
//!   lies in a page of the VM's encrypted memory), and the kernel checks that.
//! - TDX: the TDX module writes the TDREPORT into the VM's private memory. A quote would not do: the host makes it.

use crate::ioctl;
use crate::refusal::{Refusal, Result};
use rustix::mount::{mount, MountFlags};
use std::fs::{self, File};
use std::path::Path;

const CONFIGFS: &str = "/sys/kernel/config";
const TSM: &str = "/sys/kernel/config/tsm/report";
const TDX_GUEST: &str = "/dev/tdx_guest";

/// ATTESTATION_REPORT of the SEV-SNP firmware ABI (AMD publication 56860, table 23), versions 2 to 5.
const SNP_REPORT: usize = 0x4a0;
/// TDREPORT_STRUCT (Intel TDX module ABI): REPORTMACSTRUCT, TEE_TCB_INFO and 17 reserved bytes, TDINFO_STRUCT.
const TD_REPORT: usize = 1024;
const TD_REPORT_TYPE: u8 = 0x81;

/// Whether the digest is the one that the VM was launched with.
///
/// Codes: no_report, report_form, other_initdata.
pub fn compare(digest: &[u8; 32]) -> Result<()> {
    let mut nonce = [0; 64];
    rustix::rand::getrandom(&mut nonce[..], rustix::rand::GetRandomFlags::empty())
        .map_err(Refusal::while_doing("no_report", "no random numbers"))
        .and_then(|filled| match filled {
            64 => Ok(()),
            _ => Err(Refusal::new("no_report", "too few random numbers")),
        })?;
    if Path::new(TDX_GUEST).exists() {
        let report = tdx_report(&nonce)?;
        compare_tdx(&report, &nonce, digest)
    } else {
        let report = snp_report(&nonce)?;
        compare_snp(&report, &nonce, digest)
    }
}

pub fn compare_snp(report: &[u8], nonce: &[u8; 64], digest: &[u8; 32]) -> Result<()> {
    if report.len() != SNP_REPORT {
        return Err(Refusal::new(
            "report_form",
            format!("{} bytes, want {SNP_REPORT}", report.len()),
        ));
    }
    let version = u32::from_le_bytes([report[0], report[1], report[2], report[3]]);
    if !(2..=5).contains(&version) {
        return Err(Refusal::new(
            "report_form",
            format!("version {version}, want 2 to 5"),
        ));
    }
    expect_nonce(&report[0x50..0x90], nonce)?;
    expect_digest("HOST_DATA", &report[0xc0..0xe0], digest)
}

pub fn compare_tdx(report: &[u8; TD_REPORT], nonce: &[u8; 64], digest: &[u8; 32]) -> Result<()> {
    if report[0] != TD_REPORT_TYPE {
        return Err(Refusal::new(
            "report_form",
            format!("type {:#x}, want {TD_REPORT_TYPE:#x}", report[0]),
        ));
    }
    expect_nonce(&report[128..192], nonce)?;
    let mut padded = [0; 48];
    padded[..32].copy_from_slice(digest);
    expect_digest("MRCONFIGID", &report[576..624], &padded)
}

fn expect_nonce(echoed: &[u8], nonce: &[u8]) -> Result<()> {
    if echoed == nonce {
        return Ok(());
    }
    Err(Refusal::new(
        "report_form",
        "the report was made for somebody else: its REPORTDATA is not ours",
    ))
}

fn expect_digest(register: &str, got: &[u8], want: &[u8]) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Refusal::new(
        "other_initdata",
        format!(
            "the digest of the initdata is {}, {register} is {}",
            hex(want),
            hex(got)
        ),
    ))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tdx_report(nonce: &[u8; 64]) -> Result<[u8; TD_REPORT]> {
    let device = File::options()
        .read(true)
        .write(true)
        .open(TDX_GUEST)
        .map_err(Refusal::while_doing("no_report", TDX_GUEST))?;
    ioctl::td_report(&device, nonce).map_err(Refusal::while_doing("no_report", TDX_GUEST))
}

/// Linux, Documentation/ABI/testing/configfs-tsm-report.
fn snp_report(nonce: &[u8; 64]) -> Result<Vec<u8>> {
    if !Path::new(TSM).exists() {
        // What systemd does, where its unit is in the image. Without the file system there is no report either.
        let _ = mount(
            "configfs",
            CONFIGFS,
            "configfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            None,
        );
    }
    let folder = Path::new(TSM).join(format!("contrast-{}", hex(&nonce[..8])));
    fs::create_dir(&folder).map_err(Refusal::while_doing("no_report", TSM))?;
    let answer = ask(&folder, nonce);
    let _ = fs::remove_dir(&folder);
    answer.map_err(Refusal::while_doing("no_report", TSM))
}

fn ask(folder: &Path, nonce: &[u8; 64]) -> std::io::Result<Vec<u8>> {
    let provider = fs::read_to_string(folder.join("provider"))?;
    if provider.trim_end() != "sev_guest" {
        return Err(std::io::Error::other("the provider is not sev_guest"));
    }
    fs::write(folder.join("inblob"), nonce)?;
    fs::read(folder.join("outblob"))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
