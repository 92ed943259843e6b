import { expect, test } from "vitest";
import { Refusal } from "../../api/refusal.ts";
import { EvidenceError } from "../../attestation/error.ts";
import { TcbRevokedError } from "../../attestation/tdx/tcb.ts";
import { ManifestError } from "../../manifest/error.ts";
import { CliError } from "../context.ts";
import { refused } from "./verdict.ts";

const unverified = { verified: undefined, anchored: false, warnings: [] };

test("a refusal says code, field, got, want, and the next step in its message", () => {
  const error = new EvidenceError("tcb_mismatch", "another TCB", { where: "F", got: "1", want: "2", hint: "fetch it" });
  expect(refused(error, { ...unverified, warnings: ["w"] })).toEqual({
    verified: false,
    code: "tcb_mismatch",
    message: "another TCB; fetch it",
    field: "F",
    got: "1",
    want: "2",
    tcbStatus: null,
    advisories: [],
    claims: null,
    warnings: ["w"],
  });
});

test("what an error does not say is null, and a trust anchor marks the verdict", () => {
  const verdict = refused(new EvidenceError("malformed_report", "broken"), { ...unverified, anchored: true });
  expect(verdict).toMatchObject({ message: "broken", field: null, got: null, want: null });
  expect(verdict?.insecure).toContain("INSECURE");
});

test("the manifest's refusals and a software TEE without --insecure are verdicts too", () => {
  for (const error of [
    new Refusal("policy_not_allowed", "m"),
    new Refusal("reference_values_mismatch", "m"),
    new CliError("insecure_not_allowed", "m"),
  ]) {
    expect(refused(error, unverified)).toMatchObject({ verified: false, code: error.code });
  }
});

test("the TCB statuses that are errors are reported as Intel names them", () => {
  const revoked = new TcbRevokedError("TEE_TCB_SVN", "Revoked", ["INTEL-SA-1"]);
  expect(refused(revoked, unverified)).toMatchObject({ tcbStatus: "Revoked", advisories: ["INTEL-SA-1"] });
  const none = new EvidenceError("no_tcb_level", "m");
  expect(refused(none, unverified)).toMatchObject({ tcbStatus: "NotSupported", advisories: [] });
});

test("wrong use and faults are no verdicts", () => {
  for (const error of [
    new CliError("unreadable_file", "m"),
    new CliError("usage", "m"),
    new ManifestError("invalid_manifest", "m", [{ where: "$", got: "1", want: "2" }]),
    new TypeError("m"),
    "text",
  ]) {
    expect(refused(error, unverified)).toBeUndefined();
  }
});
