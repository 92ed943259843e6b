import { CodedError } from "../runtime/errors.ts";

/** Why evidence was refused, and what to do about it. */
export type EvidenceCode =
  /** The report is not what the ABI says: the sender or the transport is broken. Stop. */
  | "malformed_report"
  /** The firmware speaks a version of the report that this program does not know: update this program. */
  | "unsupported_report_version"
  /** A certificate, or an extension that has to be understood, is not what its specification says. Stop. */
  | "malformed_certificate"
  /** The chain is not complete: add the certificate that is named, from the vendor's key distribution service. */
  | "certificate_missing"
  /** The chain ends in a root that is not pinned. Stop, or name the root if it is the software TEE's. */
  | "untrusted_root"
  /** A certificate is not signed by the one that it names as its issuer. Stop. */
  | "chain_signature"
  /** A certificate or a list is signed with, or holds a key of, another algorithm than the vendor's. Stop. */
  | "certificate_algorithm"
  /** A certificate is not valid yet or no more: check the clock, then fetch the certificate anew. */
  | "certificate_expired"
  /** The vendor took a certificate back. Stop; the host has to update its firmware and certificates. */
  | "certificate_revoked"
  /** The revocation list is not what RFC 5280 says, or not signed by the root. Fetch it anew. */
  | "malformed_crl"
  /** The revocation list is not valid yet or no more: check the clock, then fetch it anew. */
  | "crl_expired"
  /** The report was changed, or signed by another key than the certificate's. Stop. */
  | "report_signature"
  /** The report names another kind of key than the certificate's, or none. Send the certificate of that kind. */
  | "signing_key_mismatch"
  /** The certificate belongs to another chip, or the host masks the chip's identity. Send the right certificate. */
  | "chip_id_mismatch"
  /** The certificate is for another TCB than the report's: fetch the certificate of REPORTED_TCB. */
  | "tcb_mismatch"
  /** The evidence was made for something else: a replay or a relay. Stop. */
  | "report_data_mismatch"
  /** The VM runs another image than the manifest trusts. */
  | "measurement_mismatch"
  /** The CPU is of another product than its certificate, or than the manifest, says. */
  | "product_mismatch"
  /** The firmware of the host is older than the manifest allows: update it. */
  | "tcb_too_low"
  /** The host may read the memory of this VM. Launch it without the debug policy. */
  | "debug_allowed"
  /** The guest policy permits what the manifest does not, or lacks what it asks for. */
  | "guest_policy_mismatch"
  /** The platform has on what the manifest does not permit, or off what it asks for. */
  | "platform_info_mismatch"
  /** The manifest lists the chips it trusts, and this is none of them. */
  | "chip_not_allowed"
  /** The report was asked for by less privileged software than the guest's firmware level. */
  | "vmpl_mismatch"
  /** There is no TEE to collect evidence from: fix what is named. */
  | "tee_unavailable";

export class EvidenceError extends CodedError<EvidenceCode> {}
