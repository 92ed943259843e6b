import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EvidenceSchema } from "../api/channel_pb.ts";
import type { Evidence, TeeKind } from "../attestation/evidence.ts";
import { TEE_KINDS } from "../attestation/tees.ts";
import { fromWire, toWire } from "./evidence-wire.ts";

const [A, B, C] = [Buffer.from("a"), Buffer.from("b"), Buffer.from("c")];

/** One of each kind, with all that it may have. */
const EVIDENCE: { readonly [K in TeeKind]: Extract<Evidence, { kind: K }> } = {
  snp: { kind: "snp", report: A, certificates: [B, C], crl: A },
  tdx: { kind: "tdx", quote: A, collateral: { tcbInfo: A, qeIdentity: B, signingChain: C, pckCrl: A, rootCrl: B } },
};

test("the wire has a case for every kind of TEE, and no other", () => {
  const [oneof, ...others] = EvidenceSchema.oneofs;
  expect(others).toEqual([]);
  expect(oneof?.fields.map(({ localName }) => localName).toSorted()).toEqual([...TEE_KINDS].toSorted());
});

test.each(TEE_KINDS)("evidence of %s travels whole", (kind) => {
  const wire = toWire(EVIDENCE[kind]);
  expect(wire.kind.case).toBe(kind);
  expect(fromWire(fromBinary(EvidenceSchema, toBinary(EvidenceSchema, wire)))).toEqual(EVIDENCE[kind]);
});

test("there is no evidence where there is none, or one of a kind that is not known", () => {
  expect(fromWire(undefined)).toBeUndefined();
  expect(fromWire(create(EvidenceSchema))).toBeUndefined();
  // Field 3, 1 byte.
  expect(fromWire(fromBinary(EvidenceSchema, Buffer.from("1a0161", "hex")))).toBeUndefined();
});
