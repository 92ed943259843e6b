import { beforeAll, describe, expect, test } from "vitest";
import { toUtf8 } from "../../bytes/encode.ts";
import { generateEcKey, type KeyPair } from "../../pki/keys.ts";
import type { TdxCollateral } from "../evidence.ts";
import { refusal } from "../test-refusal.ts";
import {
  createTestVendor,
  document,
  intelSigner,
  makeCollateral,
  makeEvidence,
  NOW,
  QE_IDENTITY,
  type Scenario,
  SERIALS,
  TCB_INFO,
  type TestVendor,
} from "./test-vendor.ts";
import { verifyTdx } from "./verify.ts";

let vendor: TestVendor;
let other: KeyPair;

beforeAll(async () => {
  [vendor, other] = await Promise.all([createTestVendor(), generateEcKey("P-256")]);
});

function verify(scenario: Scenario): unknown {
  return verifyTdx(makeEvidence(vendor, scenario), { trustAnchors: new Set([vendor.rootDigest]), at: NOW });
}

test("without collateral nothing is verified", () => {
  const { collateral, ...evidence } = makeEvidence(vendor);
  expect(collateral).toBeDefined();
  expect(() => verifyTdx(evidence, { trustAnchors: new Set([vendor.rootDigest]), at: NOW })).toThrow(
    refusal("collateral_missing"),
  );
});

const DOCUMENTS = [
  ["tcbInfo", "tcbInfo", "TCB info"],
  ["qeIdentity", "enclaveIdentity", "QE identity"],
] as const;

describe.each(DOCUMENTS)("%s", (part, key, name) => {
  const body = part === "tcbInfo" ? TCB_INFO : QE_IDENTITY;
  const edited = (edit: (text: string) => string): Scenario => {
    const collateral: Partial<TdxCollateral> = { [part]: Buffer.from(edit(toUtf8(makeCollateral(vendor)[part]))) };
    return { collateral };
  };

  test("is good from its issueDate to its nextUpdate", () => {
    const at = (time: number): string => new Date(time).toISOString();
    const now = NOW.getTime();
    expect(() => verify({ [part]: { issueDate: at(now), nextUpdate: at(now) } })).not.toThrow();
    expect(() => verify({ [part]: { nextUpdate: at(now - 1000) } })).toThrow(refusal("collateral_expired", name));
    expect(() => verify({ [part]: { issueDate: at(now + 1000) } })).toThrow(refusal("collateral_expired", name));
  });

  test("is refused where it was edited, even where it means the same", () => {
    const want = refusal("collateral_signature", `${name}, signature`);
    expect(() => verify(edited((text) => text.replace("OutOfDate", "UpToDate")))).toThrow(want);
    expect(() => verify(edited((text) => text.replace('"id":', '"id": ')))).toThrow(want);
    expect(() => verify(edited((text) => text.replace(/"id":"(.*?)",(.*?),/, '$2,"id":"$1",')))).toThrow(want);
    expect(() => verify(edited((text) => text.replace(`{"${key}":{`, `{"${key}":{"id":"X",`)))).toThrow(want);
  });

  test("is refused where another key signed it", () => {
    const collateral = { [part]: document(key, body, other.privateKey) };
    expect(() => verify({ collateral })).toThrow(refusal("collateral_signature", `${name}, signature`));
  });

  test("is taken from any of the signers of the chain", async () => {
    const renewed = await generateEcKey("P-256");
    const second = makeCollateral({ ...vendor, signer: renewed }, { signer: { serial: 0x1004 } });
    const signingChain = Buffer.concat([makeCollateral(vendor).signingChain, second.signingChain]);
    expect(() => verify({ collateral: { [part]: second[part], signingChain } })).not.toThrow();
  });

  test.each<[string, (text: string) => string]>([
    ["empty", () => ""],
    ["short", () => "{}"],
    ["under another key", (text) => text.replace(key, "other")],
    ["without a signature", (text) => text.replace(/,"signature".*/, "}")],
    ["with a short signature", (text) => text.replace(/..(?="\}$)/, "")],
    ["with a signature in upper case", (text) => text.replace(/[0-9a-f]+(?="\}$)/, (hex) => hex.toUpperCase())],
    ["followed by more", (text) => `${text} `],
    ["preceded by more", (text) => ` ${text}`],
  ])("is refused where it is %s", (_, edit) => {
    expect(() => verify(edited(edit))).toThrow(refusal("malformed_collateral", name));
  });

  test("is refused where it is signed but no JSON", () => {
    const text = Buffer.from(`{"${key}":,"signature":"${"00".repeat(64)}"}`);
    expect(() => verify({ collateral: { [part]: text } })).toThrow(refusal("collateral_signature"));
  });

  test.each<[string, unknown]>([
    ["id", "SGX"],
    ["version", 9],
    ["nextUpdate", "2026-06-19"],
    ["issueDate", undefined],
    ["tcbLevels", {}],
    ["tcbEvaluationDataNumber", undefined],
    ["tcbEvaluationDataNumber", "18"],
    ["tcbEvaluationDataNumber", -1],
    ["tcbEvaluationDataNumber", 17.5],
    part === "tcbInfo" ? ["fmspc", "90C06F"] : ["mrsigner", "00"],
    part === "tcbInfo" ? ["tcbType", 1] : ["isvprodid", -1],
  ])("is refused where %s is %j", (field, value) => {
    expect(() => verify({ [part]: { [field]: value } })).toThrow(refusal("malformed_collateral", `${name}.${field}`));
  });

  test("is refused where a level has a status that nobody knows", () => {
    const levels = (body["tcbLevels"] as readonly object[]).map((level) => ({ ...level, tcbStatus: "Fine" }));
    const where = `${name}.tcbLevels.0.tcbStatus`;
    expect(() => verify({ [part]: { tcbLevels: levels } })).toThrow(refusal("malformed_collateral", where));
  });

  test("may say more than is known today", () => {
    expect(() => verify({ [part]: { tcbEvaluationDataNumber: 19, somethingNew: { a: [1] } } })).not.toThrow();
  });
});

test("TCB info without identities of TDX modules is that of version 0", () => {
  const scenario = { tcbInfo: { tdxModuleIdentities: undefined } };
  expect(() =>
    verify({ ...scenario, body: { teeTcbSvn: Buffer.from("05000400".padEnd(32, "0"), "hex") } }),
  ).not.toThrow();
  expect(() => verify(scenario)).toThrow(refusal("no_tcb_level"));
});

describe("revocation", () => {
  test.each([
    ["PCK", { pckCrl: { serials: [7, SERIALS.pck] } }, "Intel SGX PCK Certificate"],
    ["Platform CA", { rootCrl: { serials: [7, SERIALS.ca] } }, "Intel SGX PCK Platform CA"],
    ["TCB signer", { rootCrl: { serials: [SERIALS.signer] } }, "Intel SGX TCB Signing"],
  ])("a %s on its issuer's list is refused", (_, scenario, where) => {
    expect(() => verify(scenario)).toThrow(refusal("certificate_revoked", where));
  });

  test("serial numbers of one issuer say nothing about those of another", () => {
    const scenario = { pckCrl: { serials: [SERIALS.ca, SERIALS.signer] }, rootCrl: { serials: [SERIALS.pck] } };
    expect(() => verify(scenario)).not.toThrow();
  });

  test.each(["rootCrl", "pckCrl"] as const)("%s is good from thisUpdate to nextUpdate", (part) => {
    expect(() => verify({ [part]: { thisUpdate: NOW, nextUpdate: NOW } })).not.toThrow();
    const [before, after] = [new Date(NOW.getTime() - 1000), new Date(NOW.getTime() + 1000)];
    expect(() => verify({ [part]: { nextUpdate: before } })).toThrow(refusal("crl_expired"));
    expect(() => verify({ [part]: { thisUpdate: after } })).toThrow(refusal("crl_expired"));
  });

  test.each(["rootCrl", "pckCrl"] as const)("%s must be signed by its issuer", (part) => {
    const signer = intelSigner(other.privateKey);
    expect(() => verify({ [part]: { signer } })).toThrow(refusal("malformed_crl"));
  });

  test("one list does not do for the other", () => {
    const { rootCrl, pckCrl } = makeCollateral(vendor);
    expect(() => verify({ collateral: { pckCrl: rootCrl } })).toThrow(refusal("malformed_crl"));
    expect(() => verify({ collateral: { rootCrl: pckCrl } })).toThrow(refusal("malformed_crl"));
  });

  test("the Processor CA's list does not do for a PCK of the Platform CA", () => {
    expect(() => verify({ pckCrl: { issuer: "Intel SGX PCK Processor CA" } })).toThrow(refusal("malformed_crl"));
  });
});
