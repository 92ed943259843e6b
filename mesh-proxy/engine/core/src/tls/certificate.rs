//! What the engine needs of a certificate that was verified: its names, its common name, and when it expires (RFC 5280 §4.1).

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// 2.5.29.15
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BIT_STRING: u8 = 0x03;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// RFC 5280 §4.2.1.6. The kinds that a name of the mesh can have; others are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneralName<'a> {
    Dns(&'a [u8]),
    Uri(&'a [u8]),
    Address(&'a [u8]),
}

/// RFC 5280 §4.2.1.3, the first eight bits, the first of them highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsages(u8);

impl KeyUsages {
    pub const DIGITAL_SIGNATURE: Self = Self(0x80);
    pub const KEY_ENCIPHERMENT: Self = Self(0x20);
    pub const KEY_AGREEMENT: Self = Self(0x08);
    pub const CERT_SIGN: Self = Self(0x04);

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

pub struct Certificate<'a> {
    /// The content of the name, DER.
    pub subject: &'a [u8],
    pub not_after: SystemTime,
    pub common_name: Option<&'a [u8]>,
    /// None: it names none, and may be used for all.
    pub key_usages: Option<KeyUsages>,
    /// The content of the extension, if there is one.
    alt_names: Option<&'a [u8]>,
}

impl<'a> Certificate<'a> {
    /// Returns none of what is not a certificate.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let mut tbs = Der(Der(Der(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
        if tbs.peek() == Some(VERSION) {
            tbs.next()?;
        }
        let (_serial, _algorithm, _issuer) = (tbs.next()?, tbs.next()?, tbs.next()?);
        let mut validity = Der(tbs.expect(SEQUENCE)?);
        let _not_before = validity.next()?;
        let not_after = time(validity.next()?)?;
        let subject = tbs.expect(SEQUENCE)?;
        let common_name = common_name(subject);
        let (mut alt_names, mut key_usages) = (None, None);
        for (tag, content) in tbs {
            if tag == EXTENSIONS {
                let extensions = Der(content).expect(SEQUENCE)?;
                alt_names = extension(extensions, SUBJECT_ALT_NAME);
                key_usages = extension(extensions, KEY_USAGE).map(read_key_usages);
            }
        }
        Some(Self { subject, not_after, common_name, key_usages, alt_names })
    }

    pub fn names(&self) -> impl Iterator<Item = GeneralName<'a>> {
        let names = self.alt_names.and_then(|content| Der(content).expect(SEQUENCE)).unwrap_or_default();
        Der(names).filter_map(|(tag, content)| match tag {
            0x82 => Some(GeneralName::Dns(content)),
            0x86 => Some(GeneralName::Uri(content)),
            0x87 => Some(GeneralName::Address(content)),
            _ => None,
        })
    }
}

/// What can't be read allows nothing.
fn read_key_usages(content: &[u8]) -> KeyUsages {
    let bits = Der(content).expect(BIT_STRING).unwrap_or_default();
    KeyUsages(bits.get(1).copied().unwrap_or(0))
}

fn common_name(subject: &[u8]) -> Option<&[u8]> {
    Der(subject).filter(|&(tag, _)| tag == SET).flat_map(|(_, set)| Der(set)).find_map(|(_, attribute)| {
        let mut fields = Der(attribute);
        (fields.expect(OID)? == COMMON_NAME).then(|| fields.next().map(|(_, text)| text))?
    })
}

fn extension<'a>(extensions: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    Der(extensions).find_map(|(_, extension)| {
        let mut fields = Der(extension);
        (fields.expect(OID)? == wanted)
            .then(|| fields.find(|&(tag, _)| tag == OCTET_STRING).map(|(_, content)| content))?
    })
}

/// RFC 5280 §4.1.2.5: always with seconds, always in UTC.
fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let short = number(&digits[..2])?;
            (if short < 50 { 2000 + short } else { 1900 + short }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4])?, &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&rest[at..at + 2]);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let is_time = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    let seconds = days_since_1970(year, month, day).checked_mul(86_400)? + hour * 3_600 + minute * 60 + second;
    is_time.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Of the Gregorian calendar: years begin in March, so that a leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// A cursor over elements of DER (X.690 §8.1), of definite length and with tags of one byte. What is no such element is the
/// end.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|&(found, _)| found == tag).map(|(_, content)| content)
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = std::mem::take(&mut self.0).split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2100, 3, 1), 47_541);
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let seconds =
            |tag, text: &[u8]| time((tag, text)).map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(seconds(GENERALIZED_TIME, b"20380119031407Z"), Some(0x7fff_ffff));
        assert_eq!(seconds(GENERALIZED_TIME, b"20380119031407+0100"), None);
        assert_eq!(seconds(UTC_TIME, b"701301000001Z"), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1_u32;
        for length in 0..2_000 {
            let bytes: Vec<u8> = (0..length % 200)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            if let Some(read) = Certificate::read(&bytes) {
                let _ = read.names().count();
            }
        }
    }
}
