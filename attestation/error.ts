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
  /** The revocation list is not what RFC 5280 says, or not signed by the certificates' issuer. Fetch it anew. */
  | "malformed_crl"
  /** The revocation list is not valid yet or no more: check the clock, then fetch it anew. */
  | "crl_expired"
  /** The report was changed, or signed by another key than the certificate's. Stop. */
  | "report_signature"
  /** Intel's provisioning certification key did not sign for the quoting enclave: it is not on this platform. Stop. */
  | "qe_report_signature"
  /** The quoting enclave vouches for another attestation key than the quote's. Stop. */
  | "attestation_key_mismatch"
  /** The quote was not made by Intel's quoting enclave for TDs. Stop. */
  | "qe_identity_mismatch"
  /** The TDX module is not the one that Intel's TCB info describes. Stop. */
  | "tdx_module_mismatch"
  /** There is no TCB info to judge the platform by, or no revocation list: fetch it from the vendor's service. */
  | "collateral_missing"
  /** The TCB info or QE identity is not what Intel's API specifies. Fetch it anew. */
  | "malformed_collateral"
  /** The TCB info or QE identity was changed, or signed by another key than Intel's. Fetch it anew. */
  | "collateral_signature"
  /** The TCB info or QE identity is not valid yet or no more: check the clock, then fetch it anew. */
  | "collateral_expired"
  /** Intel has evaluated platforms anew, and the TCB info or QE identity is of before: fetch it anew. */
  | "collateral_superseded"
  /** The clock says a time before this program was built: correct the clock. */
  | "clock_before_build"
  /** The clock says a time before a vendor signed what this process has verified: correct the clock. */
  | "clock_before_vendor"
  /** The clock says a time before the manifest was made: correct the clock, here or where it was made. */
  | "clock_before_manifest"
  /** The TCB info is for another family of platforms. Fetch the one of the PCK certificate's FMSPC. */
  | "fmspc_mismatch"
  /** The platform is older than every TCB level that Intel knows: the host has to update its firmware. */
  | "no_tcb_level"
  /** Intel revoked the platform's TCB level. Stop; the host has to update its firmware. */
  | "tcb_revoked"
  /** Intel knows weaknesses of the platform's TCB level: update or configure the host, or allow the status by name. */
  | "tcb_status"
  /** Intel judged the platform by an older assessment than the manifest asks for: fetch the collateral anew. */
  | "tcb_evaluation_too_old"
  /** The report names another kind of key than the certificate's, or none. Send the certificate of that kind. */
  | "signing_key_mismatch"
  /**
   * The manifest does not trust this kind of key, or not this cloud's. Use a machine that signs with the right one; a
   * VLEK speaks for all machines of a cloud, so name it in the manifest only if that is meant.
   */
  | "signing_key_not_allowed"
  /** The certificate belongs to another chip, or the host masks the chip's identity. Send the right certificate. */
  | "chip_id_mismatch"
  /** The certificate is for another TCB than the report's: fetch the certificate of REPORTED_TCB. */
  | "tcb_mismatch"
  /** The evidence was made for something else: a replay or a relay. Stop. */
  | "report_data_mismatch"
  /** The VM runs another image than the manifest trusts. */
  | "measurement_mismatch"
  /** The VM's image is not signed, or not by the key or not of the product that the manifest trusts. */
  | "image_mismatch"
  /** The VM's image is signed, but older than the manifest allows: launch a newer one. */
  | "guest_svn_too_low"
  /** The CPU is of another product than its certificate, or than the manifest, says. */
  | "product_mismatch"
  /** The firmware of the host is older than the manifest allows: update it. */
  | "tcb_too_low"
  /** The host may read the memory of this VM. Launch it without the debug policy. */
  | "debug_allowed"
  /** The guest policy permits what the manifest does not, or lacks what it asks for. */
  | "guest_policy_mismatch"
  /** The VM was launched with other TDATTRIBUTES than the manifest trusts: launch it with those, or name them. */
  | "td_attributes_mismatch"
  /** Another service TD is bound to the VM than the manifest names, or the quote can't say which. Launch it without. */
  | "service_td_mismatch"
  /** MROWNER or MROWNERCONFIG is another than the manifest names; zero, if it names none. Launch the VM with that. */
  | "td_owner_mismatch"
  /** The VM was launched with other CPU features than the manifest trusts. */
  | "xfam_mismatch"
  /** The VM was launched with something else than a policy hash. Launch it with the hash of its policy. */
  | "config_id_malformed"
  /** The platform has on what the manifest does not permit, or off what it asks for. */
  | "platform_info_mismatch"
  /** The firmware lacks a mitigation that the manifest asks for, or can't say. Update it, then launch the VM anew. */
  | "mitigation_missing"
  /** The manifest lists the chips it trusts, and this is none of them. */
  | "chip_not_allowed"
  /** The manifest lists the machines it trusts by their PIID, and this is none of them, or has none. */
  | "piid_not_allowed"
  /** The manifest asks for cryptographic integrity of memory, and the machine has none. Use another machine. */
  | "memory_integrity_missing"
  /** The manifest asks for SMT to be off, and Intel's certificate does not say so. Turn it off, register the host anew. */
  | "smt_enabled"
  /** The manifest asks for a machine to which no CPU package can be added, and Intel's certificate does not say so. */
  | "dynamic_platform"
  /** The report was asked for by less privileged software than the guest's firmware level. */
  | "vmpl_mismatch"
  /** There is no TEE to collect evidence from: fix what is named. */
  | "tee_unavailable"
  /** The TEE was busy, or somebody else came in between, each time it was asked: try again later. */
  | "tee_busy"
  /** The secure processor, or the host before it, refused to make a report: look at the numbers and the kernel's log. */
  | "firmware_error";

export class EvidenceError extends CodedError<EvidenceCode> {}
