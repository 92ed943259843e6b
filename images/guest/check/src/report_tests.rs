use super::*;

const NONCE: [u8; 64] = [7; 64];
const DIGEST: [u8; 32] = [9; 32];

fn snp() -> Vec<u8> {
    let mut report = vec![0; SNP_REPORT];
    report[0] = 3;
    report[0x50..0x90].copy_from_slice(&NONCE);
    report[0xc0..0xe0].copy_from_slice(&DIGEST);
    report
}

fn tdx() -> [u8; TD_REPORT] {
    let mut report = [0; TD_REPORT];
    report[0] = TD_REPORT_TYPE;
    report[128..192].copy_from_slice(&NONCE);
    report[576..608].copy_from_slice(&DIGEST);
    report
}

fn code(outcome: Result<()>) -> &'static str {
    outcome.map_or_else(|refusal| refusal.code, |()| "accepted")
}

#[test]
fn of_an_snp_report_exactly_version_nonce_and_digest_count() {
    assert_eq!(code(compare_snp(&snp(), &NONCE, &DIGEST)), "accepted");
    for at in 0..SNP_REPORT {
        let mut report = snp();
        report[at] ^= 0x80;
        let wanted = match at {
            0..=3 | 0x50..=0x8f => "report_form",
            0xc0..=0xdf => "other_initdata",
            _ => "accepted",
        };
        assert_eq!(
            code(compare_snp(&report, &NONCE, &DIGEST)),
            wanted,
            "byte {at:#x}"
        );
    }
    for length in [0, SNP_REPORT - 1, SNP_REPORT + 1] {
        let mut report = snp();
        report.resize(length, 0);
        assert_eq!(code(compare_snp(&report, &NONCE, &DIGEST)), "report_form");
    }
}

#[test]
fn of_a_td_report_exactly_type_nonce_and_the_padded_digest_count() {
    assert_eq!(code(compare_tdx(&tdx(), &NONCE, &DIGEST)), "accepted");
    for at in 0..TD_REPORT {
        let mut report = tdx();
        report[at] ^= 1;
        let wanted = match at {
            0 | 128..=191 => "report_form",
            576..=623 => "other_initdata",
            _ => "accepted",
        };
        assert_eq!(
            code(compare_tdx(&report, &NONCE, &DIGEST)),
            wanted,
            "byte {at}"
        );
    }
}

/// A report of real hardware: RECORDED_KIND, RECORDED_FILE, RECORDED_REPORT_DATA and RECORDED_DIGEST are in the environment.
#[test]
#[ignore = "it needs recorded evidence"]
fn recorded() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let bytes = |name: &str| -> Vec<u8> {
        let text = variable(name);
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let report = std::fs::read(variable("RECORDED_FILE")).unwrap();
    let nonce: [u8; 64] = bytes("RECORDED_REPORT_DATA").try_into().unwrap();
    let digest: [u8; 32] = bytes("RECORDED_DIGEST").try_into().unwrap();
    let compare = |nonce: &[u8; 64], digest: &[u8; 32]| match variable("RECORDED_KIND").as_str() {
        "snp" => code(compare_snp(&report, nonce, digest)),
        _ => code(compare_tdx(
            report.as_slice().try_into().unwrap(),
            nonce,
            digest,
        )),
    };
    assert_eq!(compare(&nonce, &digest), "accepted");
    assert_eq!(compare(&[1; 64], &digest), "report_form");
    assert_eq!(compare(&nonce, &[1; 32]), "other_initdata");
}
