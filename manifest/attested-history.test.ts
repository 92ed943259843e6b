import { expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { issueCa } from "../pki/certificate.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../pki/keys.ts";
import { attestedHistory, keyOf, type ToldStep } from "./attested-history.ts";
import { encodeTransition } from "./transition.ts";

const [root, mesh] = [await generateEcKey("P-384"), await generateEcKey("P-256")];
const time = { notBefore: new Date("2026-01-01T00:00:00Z"), notAfter: new Date("2036-01-01T00:00:00Z") };
const certificateOf = (key: KeyPair): string =>
  issueCa({ ...time, subject: "CA", publicKey: key.publicKey, issuer: { name: "CA", key }, pathLength: 1 });
const hexOf = ({ publicKey }: KeyPair): string => toHex(spkiDigest(publicKey));
const bytes = (hex: string): Uint8Array => fromHex(hex) ?? new Uint8Array();

const manifest = Buffer.from('{"WorkloadOwnerKeyDigests":[]}');
const record = encodeTransition({
  manifest: sha256Hex(manifest),
  previous: undefined,
  seedShares: "ab".repeat(32),
  rootKey: hexOf(root),
  meshKey: undefined,
  signatures: [],
});
const STEP: ToldStep = {
  manifest,
  transition: bytes(sha256Hex(record)),
  transitionRecord: record,
  annex: new Uint8Array(),
};
const CAS = { rootCaCert: certificateOf(root), meshCaCert: certificateOf(mesh) };

test("a history is read with the keys of its CAs", () => {
  expect(attestedHistory({ history: [STEP], ...CAS })).toMatchObject({
    transitions: [sha256Hex(record)],
    latest: sha256Hex(record),
    rootKey: hexOf(root),
    meshKey: hexOf(mesh),
  });
});

test.for<[string, object]>([
  ["no step", { history: [] }],
  ["a record that is another", { history: [{ ...STEP, transition: bytes("00".repeat(32)) }] }],
  ["a record that is none", { history: [{ ...STEP, transitionRecord: record.subarray(1) }] }],
  ["another manifest", { history: [{ ...STEP, manifest: Buffer.from("{}") }] }],
  ["no manifest", { history: [{ ...STEP, manifest: new Uint8Array() }] }],
  ["an annex that no step names", { history: [{ ...STEP, annex: Buffer.from('{"Secrets":{},"Volumes":{}}') }] }],
  ["another root CA", { rootCaCert: CAS.meshCaCert }],
  ["no mesh CA", { meshCaCert: "" }],
])("a history with %s is refused", ([, changes]) => {
  expect(() => attestedHistory({ history: [STEP], ...CAS, ...changes })).toThrow(
    expect.objectContaining({ name: "HistoryError", code: "broken_history" }),
  );
});

test("a CA is one certificate in PEM", () => {
  expect(keyOf(CAS.rootCaCert, "root CA")).toBe(hexOf(root));
  for (const pem of ["", "x", `${CAS.rootCaCert}${CAS.meshCaCert}`, CAS.rootCaCert.replace("M", "N"), "\u{1F512}"]) {
    expect(() => keyOf(pem, "root CA")).toThrow(expect.objectContaining({ code: "broken_history" }));
  }
});
