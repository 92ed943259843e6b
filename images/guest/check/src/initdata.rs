//! The initdata device and its document, as Kata's runtimes write them (kata-containers, src/agent/src/initdata.rs and
//! src/runtime-rs/crates/resource/src/coco_data/initdata_block.rs): "initdata", the length as 64 bits little-endian, so
//! many bytes of gzip, padding. The document is TOML (confidential-containers, initdata 0.1.0).

use crate::refusal::{Refusal, Result};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use std::io::Read;

pub const MAGIC: &[u8; 8] = b"initdata";

/// A Kubernetes object has at most some megabytes, so its annotations have less.
const LARGEST_GZIP: u64 = 8 << 20;
/// The agent takes policies of 16 MiB; configuration for other components stands beside it.
const LARGEST_DOCUMENT: u64 = 24 << 20;

/// Of a stored block (RFC 1951, section 3.2.4).
const LARGEST_BLOCK: usize = 0xffff;

#[derive(Debug)]
pub struct Document {
    bytes: Vec<u8>,
}

impl Document {
    /// Reads each byte of the device once, from its start: what was read is all that counts from then on, whatever the
    /// host writes to the disk meanwhile.
    ///
    /// Codes: initdata_form, initdata_size, initdata_algorithm, device_read.
    pub fn read(mut device: impl Read) -> Result<Self> {
        let unreadable = Refusal::while_doing("device_read", "the initdata device");
        let (mut magic, mut length) = ([0; 8], [0; 8]);
        device.read_exact(&mut magic).map_err(&unreadable)?;
        device.read_exact(&mut length).map_err(&unreadable)?;
        if &magic != MAGIC {
            return Err(Refusal::new(
                "initdata_form",
                "the device changed while it was read",
            ));
        }
        let length = u64::from_le_bytes(length);
        if length > LARGEST_GZIP {
            return Err(Refusal::new(
                "initdata_size",
                format!("{length} bytes of gzip, want at most {LARGEST_GZIP}"),
            ));
        }
        let mut gzip = vec![0; length as usize];
        device.read_exact(&mut gzip).map_err(&unreadable)?;
        let bytes = inflate(&gzip)?;
        check_head(&bytes)?;
        Ok(Self { bytes })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// The contents of a device with this document: gzip of stored blocks, so that nothing is left to interpretation, and
    /// padding to whole sectors.
    pub fn to_device(&self) -> Vec<u8> {
        let gzip = stored_gzip(&self.bytes);
        let mut device = Vec::with_capacity(gzip.len() + 1024);
        device.extend_from_slice(MAGIC);
        device.extend_from_slice(&(gzip.len() as u64).to_le_bytes());
        device.extend_from_slice(&gzip);
        device.resize(device.len().next_multiple_of(512), 0);
        device
    }
}

fn inflate(gzip: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = GzDecoder::new(gzip);
    let mut bytes = Vec::new();
    decoder
        .by_ref()
        .take(LARGEST_DOCUMENT + 1)
        .read_to_end(&mut bytes)
        .map_err(Refusal::while_doing("initdata_form", "gzip"))?;
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(Refusal::new(
            "initdata_size",
            format!("a document of more than {LARGEST_DOCUMENT} bytes"),
        ));
    }
    if !decoder.into_inner().is_empty() {
        return Err(Refusal::new(
            "initdata_form",
            "bytes behind the end of the gzip",
        ));
    }
    Ok(bytes)
}

/// RFC 1952, with blocks of RFC 1951 that are stored.
fn stored_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(LARGEST_BLOCK).peekable();
    if blocks.peek().is_none() {
        gzip.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        gzip.push(u8::from(blocks.peek().is_none()));
        gzip.extend_from_slice(&length.to_le_bytes());
        gzip.extend_from_slice(&(!length).to_le_bytes());
        gzip.extend_from_slice(block);
    }
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    gzip.extend_from_slice(&crc.sum().to_le_bytes());
    gzip.extend_from_slice(&crc.amount().to_le_bytes());
    gzip
}

/// The keys of the document stand before its first table, each on a line, as strings without escapes. What has this
/// form has no other meaning for a reader of TOML, so no whole reader is needed to know the algorithm.
fn check_head(document: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(document)
        .map_err(Refusal::while_doing("initdata_form", "the document"))?;
    let (mut version, mut algorithm) = (None, None);
    for line in text.lines() {
        let line = line.trim_matches([' ', '\t']);
        if line.starts_with('[') {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = key_and_value(line).ok_or_else(|| {
            Refusal::new(
                "initdata_form",
                "want lines like algorithm = \"sha256\" before the first table",
            )
        })?;
        let slot = match key {
            "version" => &mut version,
            "algorithm" => &mut algorithm,
            _ => {
                return Err(Refusal::new(
                    "initdata_form",
                    "a key that is neither version nor algorithm",
                ))
            }
        };
        if slot.replace(value).is_some() {
            return Err(Refusal::new(
                "initdata_form",
                format!("{key} stands there twice"),
            ));
        }
    }
    if version != Some("0.1.0") {
        return Err(Refusal::new("initdata_form", "want version = \"0.1.0\""));
    }
    match algorithm {
        Some("sha256") => Ok(()),
        _ => Err(Refusal::new(
            "initdata_algorithm",
            "want algorithm = \"sha256\", whose digest fits into HOST_DATA",
        )),
    }
}

fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let value = value
        .trim_matches([' ', '\t'])
        .strip_prefix('"')?
        .strip_suffix('"')?;
    let is_plain = value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    is_plain.then_some((key.trim_matches([' ', '\t']), value))
}

#[cfg(test)]
#[path = "initdata_tests.rs"]
mod tests;
