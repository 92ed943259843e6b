use super::*;
use flate2::write::GzEncoder;
use flate2::Compression;
use std::io::Write;

const GOOD: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n\"policy.rego\" = '''\npackage agent_policy\n'''\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn device(gzip: &[u8]) -> Vec<u8> {
    let mut device = b"initdata".to_vec();
    device.extend_from_slice(&(gzip.len() as u64).to_le_bytes());
    device.extend_from_slice(gzip);
    device.resize(device.len() + 600, 0);
    device
}

fn code(device: &[u8]) -> &'static str {
    Document::read(device).map_or_else(|refusal| refusal.code, |_| "accepted")
}

fn code_of(document: &str) -> &'static str {
    code(&device(&gzip(document.as_bytes())))
}

#[test]
fn the_copy_holds_the_same_document() {
    for length in [0, 1, 1000, 0xffff, 0x10000, 0x30001] {
        let text = format!("{GOOD}# {}", "x".repeat(length));
        let document = Document::read(&device(&gzip(text.as_bytes()))[..]).unwrap();
        assert_eq!(document.bytes(), text.as_bytes());
        let copy = document.to_device();
        assert_eq!(copy.len() % 512, 0);
        let again = Document::read(&copy[..]).unwrap();
        assert_eq!(again.bytes(), text.as_bytes());
        assert_eq!(
            again.digest(),
            <[u8; 32]>::from(Sha256::digest(text.as_bytes()))
        );
    }
}

#[test]
fn other_forms_of_toml_and_other_algorithms_are_refused() {
    assert_eq!(code_of(GOOD), "accepted");
    assert_eq!(
        code_of(&format!("# a comment\n\n{}", GOOD.replace(" = ", "  =\t"))),
        "accepted"
    );
    for (from, to, code) in [
        ("sha256", "sha384", "initdata_algorithm"),
        ("sha256", "SHA256", "initdata_algorithm"),
        ("algorithm = \"sha256\"\n", "", "initdata_algorithm"),
        ("version = \"0.1.0\"\n", "", "initdata_form"),
        ("0.1.0", "0.2.0", "initdata_form"),
        (
            "algorithm",
            "algorithm = \"sha256\"\nalgorithm",
            "initdata_form",
        ),
        ("algorithm", "\"algorithm\"", "initdata_form"),
        ("\"sha256\"", "'sha256'", "initdata_form"),
        ("\"sha256\"", "\"\"\"sha256\"\"\"", "initdata_form"),
        ("\"sha256\"", "\"sha\\u0032\"", "initdata_form"),
        ("\"sha256\"", "\"sha256\" # \"", "initdata_form"),
        ("algorithm", "x.y = 1\nalgorithm", "initdata_form"),
    ] {
        assert_eq!(code_of(&GOOD.replace(from, to)), code, "{to}");
    }
    assert_eq!(code_of("hello"), "initdata_form");
    assert_eq!(code(&device(&gzip(b"\xff\xfe"))), "initdata_form");
}

#[test]
fn an_algorithm_behind_the_first_table_is_none() {
    let moved = GOOD.replace("algorithm = \"sha256\"\n", "") + "algorithm = \"sha256\"\n";
    assert_eq!(code_of(&moved), "initdata_algorithm");
}

#[test]
fn lengths_are_limited_before_memory_is_taken() {
    let mut device = device(&gzip(GOOD.as_bytes()));
    for (length, code_wanted) in [
        (u64::MAX, "initdata_size"),
        (LARGEST_GZIP + 1, "initdata_size"),
        (LARGEST_GZIP, "device_read"),
    ] {
        device[8..16].copy_from_slice(&length.to_le_bytes());
        assert_eq!(code(&device), code_wanted);
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let bomb = gzip(&vec![b'#'; LARGEST_DOCUMENT as usize + 1]);
    assert!(bomb.len() < 100_000);
    assert_eq!(code(&device(&bomb)), "initdata_size");
}

#[test]
fn gzip_that_is_cut_changed_or_goes_on_is_refused() {
    let gzip = gzip(GOOD.as_bytes());
    for end in 0..gzip.len() {
        assert_eq!(code(&device(&gzip[..end])), "initdata_form", "cut at {end}");
    }
    let mut changed = gzip.clone();
    let last = changed.len() - 6;
    changed[last] ^= 1;
    assert_eq!(code(&device(&changed)), "initdata_form");
    assert_eq!(
        code(&device(&[gzip.clone(), vec![0]].concat())),
        "initdata_form"
    );
    assert_eq!(
        code(&device(&[gzip.clone(), gzip].concat())),
        "initdata_form"
    );
}

#[test]
fn a_device_that_is_cut_or_no_longer_begins_with_the_magic_is_refused() {
    let good = device(&gzip(GOOD.as_bytes()));
    for end in [0, 7, 15, 16, 40] {
        assert_eq!(code(&good[..end]), "device_read");
    }
    assert_eq!(code(&[b"INITDATA", &good[8..]].concat()), "initdata_form");
}

/// A host that answers every read anew.
struct Changing(Vec<u8>, usize);

impl Read for Changing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = (self.1 + buffer.len()).min(self.0.len());
        let length = end - self.1;
        buffer[..length].copy_from_slice(&self.0[self.1..end]);
        // What has been read is something else from now on.
        self.0[..end].fill(0xee);
        self.1 = end;
        Ok(length)
    }
}

#[test]
fn every_byte_is_read_once() {
    let document = Document::read(Changing(device(&gzip(GOOD.as_bytes())), 0)).unwrap();
    assert_eq!(document.bytes(), GOOD.as_bytes());
}
