import { generateKeyPairSync } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { decodePemCertificates } from "../attestation/pem.ts";
import { parseTdxQuote } from "../attestation/tdx/quote.ts";
import {
  bodyOf,
  createTestVendor,
  makeEvidence,
  NOW as INTEL_NOW,
  TEE_TCB_SVN,
} from "../attestation/tdx/test-vendor.ts";
import { verifyTdx } from "../attestation/tdx/verify.ts";
import { toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { spki } from "../pki/keys.ts";
import { type AuditFacts, auditFacts } from "./facts.ts";
import { reportPage } from "./page.ts";
import {
  claimantOf,
  COORDINATOR,
  createTestAudit,
  type Draft,
  hashOf,
  NOW,
  OWNER,
  policyOf,
  type TestAudit,
} from "./test-audit.ts";

let audit: TestAudit;

beforeAll(async () => {
  audit = await createTestAudit();
});

function factsOf(...drafts: readonly Draft[]): AuditFacts {
  return auditFacts(audit.input(drafts));
}

/** `generation level code: text` of each entry that is not about the software TEE or the owners, which every test has. */
function timeline(...drafts: readonly Draft[]): string[] {
  return factsOf(...drafts)
    .timeline.filter(({ code }) => code !== "insecure_reference_values" && code !== "no_recovery")
    .map(({ generation, level, code, text }) => `${generation} ${level} ${code}: ${text}`);
}

/** `kind subject path: from -> to` of what the last manifest changed. */
function changes(...drafts: readonly Draft[]): string[] {
  const { changes: all } = factsOf(...drafts).history.at(-1) ?? {};
  return (all ?? []).map(
    ({ kind, subject, path, from, to }) => `${kind} ${subject} ${path}: ${from ?? ""} -> ${to ?? ""}`,
  );
}

const web = policyOf({ name: "web" });
const webHash = hashOf(web);
const grant = { SANs: ["web"], WorkloadSecretID: "web" };
const milan = (values: object = {}): object => ({
  ProductName: "Milan",
  TrustedMeasurement: "2c".repeat(48),
  MinimumTCB: { BootloaderVersion: 4, TEEVersion: 0, SNPVersion: 24, MicrocodeVersion: 219 },
  AllowedChipIDs: ["c1".repeat(64)],
  ...values,
});
const withSnp = (...sets: readonly object[]): Draft => ({ referenceValues: { insecure: [audit.insecure], snp: sets } });
const rsa = (): string => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return toHex(spki(publicKey));
};

test("one manifest: who, what, and that nothing is proven", () => {
  const owner = rsa();
  const facts = factsOf({ pods: [[web, grant]], seedshareOwners: [owner] });
  expect(facts).toMatchObject({
    result: "verified",
    insecure: expect.stringContaining("software TEE") as string,
    time: NOW.toISOString(),
    version: "1.2.3",
    coordinator: "coordinator.example:1313",
    generation: 1,
    evidence: { tee: "snp", platform: "software TEE", referenceValues: "$.ReferenceValues.insecure[0]" },
    workloadOwners: [OWNER],
    seedShareOwners: [{ key: "RSA 2048" }],
    workloadOwnerThreshold: 1,
    seedShareThreshold: 1,
    history: [{ generation: 1, policies: 2, changes: null, transition: "01".repeat(32) }],
    rules: [{ known: true }],
  });
  expect(facts.verdict).toContain("proves nothing about hardware");
  expect(facts.evidence.comparisons.every(({ holds }) => holds)).toBe(true);
  expect(facts.policies).toMatchObject([
    { pod: "StatefulSet shop/coordinator", role: "coordinator", active: true },
    {
      pod: "Deployment shop/web",
      hash: webHash,
      sans: ["web"],
      workloadSecretId: "web",
      transit: { latest: 1, minimum: 1 },
      role: null,
      text: null,
    },
  ]);
  expect(facts.certificates.map(({ name, key }) => [name, key])).toEqual([
    ["root CA", "ECDSA P-384"],
    ["mesh CA", "ECDSA P-256"],
    ["SEV-VCEK", "ECDSA P-384"],
    ["SEV-Milan", "RSA 4096"],
    ["ARK-Milan", "RSA 4096"],
  ]);
  expect(facts.timeline.map(({ code }) => code)).toEqual(["insecure_reference_values"]);
});

describe("certificates of earlier generations", () => {
  const DAY = 24 * 3_600_000;
  const until = (...drafts: readonly Draft[]): number =>
    (new Date(factsOf(...drafts).earlierCertificatesUntil).getTime() - NOW.getTime()) / DAY;

  test("live as long as the longest lifetime of the history after this mesh CA began", () => {
    expect(until({ certificateLifetime: "48h" })).toBe(2);
    expect(until({ certificateLifetime: "240h" }, { certificateLifetime: "48h" })).toBe(10);
    expect(until({ certificateLifetime: "48h" }, { certificateLifetime: "720h" }, {})).toBe(365);
    // Before a recovery there were certificates of the manifest that is in force, too.
    expect(until({ certificateLifetime: "48h" }, { certificateLifetime: "720h" })).toBe(30);
  });

  test("live a year where this version can't read their manifest", () => {
    const input = audit.input([{ certificateLifetime: "1h" }, { certificateLifetime: "1h" }]);
    const [first = { manifest: Buffer.of(), transition: "", signedBy: [], rootKey: "" }, second = first] =
      input.history;
    const unreadable = { ...first, manifest: Buffer.from('{"Future": 1}') };
    const { earlierCertificatesUntil } = auditFacts({ ...input, history: [unreadable, second] });
    expect(earlierCertificatesUntil).toBe(new Date(NOW.getTime() + 365 * DAY).toISOString());
  });

  test("the report says whether they have ended, how long those of now live, and of which manifest a CA is", () => {
    const input = audit.input([{ certificateLifetime: "1h30m" }]);
    const facts = auditFacts(input);
    expect(facts.certificateLifetime).toBe("1h30m");
    expect(factsOf({}).certificateLifetime).toBe("8760h");
    expect(facts.certificates.map(({ generation }) => generation)).toEqual([null, 3, null, null, null]);
    expect(reportPage(facts)).toContain("may live until");
    expect(reportPage(facts)).toContain("<code>1h30m</code>");
    const later = auditFacts({ ...input, at: new Date(NOW.getTime() + 2 * 3_600_000) });
    expect(reportPage(later)).not.toContain("may live until");
    expect(reportPage(later)).toContain(`<time datetime="${facts.earlierCertificatesUntil}">`);
  });
});

describe("what a manifest changed", () => {
  test("the lifetime of certificates, also where the manifest says nothing", () => {
    expect(changes({}, { certificateLifetime: "24h" })).toEqual(['changed certificate lifetime : "8760h" -> "24h"']);
    expect(changes({}, { certificateLifetime: "8760h" })).toEqual([]);
  });

  test("nothing", () => {
    expect(changes({ pods: [[web, grant]] }, { pods: [[web, grant]] })).toEqual([]);
  });

  test("a pod that came, and one that went", () => {
    const other = policyOf({ name: "other" });
    expect(changes({ pods: [[web, grant]] }, { pods: [[other, {}]] })).toEqual([
      `removed Deployment shop/web policy: "${webHash}" -> `,
      'removed Deployment shop/web SANs: ["web"] -> ',
      'removed Deployment shop/web WorkloadSecretID: "web" -> ',
      `added Deployment shop/other policy:  -> "${hashOf(other)}"`,
      "added Deployment shop/other SANs:  -> []",
    ]);
  });

  test("a pod's policy, by the pod's name, and what it is granted", () => {
    const newer = policyOf({ name: "web" }, { image: "shop:2" });
    expect(changes({ pods: [[web, grant]] }, { pods: [[newer, { ...grant, SANs: ["web", "www"] }]] })).toEqual([
      `changed Deployment shop/web policy: "${webHash}" -> "${hashOf(newer)}"`,
      'changed Deployment shop/web SANs:  -> "www"',
      'changed Deployment shop/web policy_data.containers.main.image: "shop:1" -> "shop:2"',
    ]);
  });

  test("the rules of a policy", () => {
    const other = policyOf({ name: "web" }, {}, "package agent_policy\n");
    const subjects = changes({ pods: [[web, grant]] }, { pods: [[other, grant]] });
    expect(subjects).toHaveLength(2);
    expect(subjects[1]).toMatch(/^changed Deployment shop\/web rules: "[0-9a-f]{64}" -> "[0-9a-f]{64}"$/);
  });

  test("reference values, by platform wherever the set stands", () => {
    const older = milan({ MinimumTCB: { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 115 } });
    const genoa = milan({ ProductName: "Genoa" });
    expect(changes(withSnp(milan(), genoa), withSnp(genoa, older))).toEqual([
      "changed reference values snp[1] MinimumTCB.BootloaderVersion: 4 -> 3",
      "changed reference values snp[1] MinimumTCB.SNPVersion: 24 -> 8",
      "changed reference values snp[1] MinimumTCB.MicrocodeVersion: 219 -> 115",
    ]);
  });

  test("owners", () => {
    expect(changes({ owners: [OWNER] }, { owners: ["0b".repeat(32)] })).toEqual([
      `changed workload owners : "${OWNER}" -> `,
      `changed workload owners :  -> "${"0b".repeat(32)}"`,
    ]);
  });
});

describe("the timeline", () => {
  test("says nothing about a deployment that only grows", () => {
    expect(
      timeline(
        { pods: [[web, grant]] },
        {
          pods: [
            [web, grant],
            [policyOf({ name: "more" }), {}],
          ],
        },
      ),
    ).toEqual([]);
  });

  test("a minimum that was lowered, and that the reference values changed", () => {
    const older = milan({ MinimumTCB: { BootloaderVersion: 4, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 219 } });
    expect(timeline(withSnp(milan()), withSnp(older))).toEqual([
      "2 warning lowered_minimum: lowers $.ReferenceValues.snp[0].MinimumTCB.SNPVersion from 24 to 8",
      "2 note changed_reference_values: the reference values changed",
    ]);
    // What is written in another order is the same.
    const { insecure } = audit;
    const orders = [
      { insecure: [insecure], snp: [milan()] },
      { snp: [milan()], insecure: [insecure] },
    ];
    expect(timeline(...orders.map((referenceValues) => ({ referenceValues })))).toEqual([]);
  });

  test("a pod that went, once", () => {
    const pods: Draft = { pods: [[web, grant]] };
    expect(timeline(pods, {}, {})).toEqual(["2 warning removed_pod: Deployment shop/web may no longer run"]);
    const newer = policyOf({ name: "web" }, { image: "shop:2" });
    expect(
      timeline(
        {
          pods: [
            [web, grant],
            [newer, grant],
          ],
        },
        { pods: [[newer, grant]] },
      ),
    ).toEqual([]);
  });

  test("seed share owners that changed", () => {
    const [owner, other] = [rsa(), rsa()];
    const shared = (threshold: number, ...seedshareOwners: string[]): Draft => ({ seedshareOwners, threshold });
    for (const after of [shared(2, owner, other), shared(1, owner)]) {
      expect(timeline(shared(1, owner, other), after)).toEqual([
        "2 warning changed_seed_share_owner: the seed share owners or their threshold changed: " +
          "the seed did not, so any 1 of the 2 owners before keep it for ever",
      ]);
    }
    expect(timeline(shared(1, owner, other), shared(1, other, owner))).toEqual([]);
  });

  test("a rekey, and who allowed it", () => {
    const [owner, other] = [rsa(), rsa()];
    const input = audit.input([{ seedshareOwners: [owner] }, { seedshareOwners: [other] }]);
    const [first, second] = input.history;
    if (first === undefined || second === undefined) throw new Error("no history");
    const history = [first, { ...second, rootKey: "d".repeat(64) }];
    const facts = auditFacts({ ...input, history });
    expect(facts.history.map(({ rekey }) => rekey)).toEqual([false, true]);
    const told = facts.timeline.filter(({ code }) => code === "rekeyed" || code === "changed_seed_share_owner");
    expect(told.map(({ generation, text }) => `${generation} ${text}`)).toEqual([
      `2 a rekey: a new seed, a new root CA (key ${"d".repeat(64)}) and new workload secrets, ` +
        `which the workload owner ${OWNER} allowed`,
      "2 the seed share owners or their threshold changed: the seed did, too, with the rekey",
    ]);
  });

  test("owners that changed, and that nobody is left", () => {
    const other = "0b".repeat(32);
    expect(timeline({ owners: [OWNER] }, { owners: [other] }, { owners: [] }, { owners: [] })).toEqual([
      `2 warning changed_owner: the workload owner ${OWNER} may no longer change the manifest`,
      `2 warning changed_owner: another workload owner may change the manifest: ${other}`,
      "3 note immutable: nobody may set another manifest after this one",
      `3 warning changed_owner: the workload owner ${other} may no longer change the manifest`,
      "4 warning changed_though_immutable: the previous manifest allowed no changes",
    ]);
  });

  test("fewer owners that a change needs", () => {
    const owners = [OWNER, "0b".repeat(32), "0c".repeat(32)];
    const [one, two, three] = [1, 2, 3].map((ownerThreshold): Draft => ({ owners, ownerThreshold }));
    expect(timeline(one ?? {}, three ?? {}, two ?? {}, { owners })).toEqual([
      "3 warning fewer_owners_needed: lowers how many workload owners a change needs from 3 to 2",
      "4 warning fewer_owners_needed: lowers how many workload owners a change needs from 2 to 1",
    ]);
  });

  test("a manifest of before", () => {
    expect(timeline({}, { owners: [OWNER, "0b".repeat(32)] }, {}).at(-2)).toBe(
      "3 warning old_manifest: manifest 1 is in force again, which reverts every later change",
    );
    expect(timeline({}, {})).toEqual([]);
  });

  test("secrets that another pod gets", () => {
    const thief = policyOf({ name: "thief" });
    expect(
      timeline(
        { pods: [[web, grant]] },
        {
          pods: [
            [web, grant],
            [thief, { WorkloadSecretID: "web" }],
          ],
        },
      ),
    ).toEqual([
      '2 warning secret_handed_over: Deployment shop/thief gets the workload secret "web", which Deployment shop/web had',
    ]);
  });

  test("another Coordinator", () => {
    const next = policyOf({ kind: "StatefulSet", name: "coordinator-next" });
    expect(timeline({}, { pods: [[next, { Role: "coordinator" }]] }, {}).slice(0, 2)).toEqual([
      `2 warning changed_coordinator: another policy may be the Coordinator: ${hashOf(next)}`,
      "3 warning old_manifest: manifest 1 is in force again, which reverts every later change",
    ]);
  });

  test("what lets the host in, as long as it is so, said once", () => {
    const debug = milan({ GuestPolicy: { Debug: true, MigrateMA: true } });
    expect(timeline(withSnp(debug), withSnp(debug))).toEqual([
      "1 warning debug_permitted: lets the host debug VMs, and so read their memory (Milan)",
      "1 warning migration_permitted: lets a migration agent of the host move VMs (Milan)",
    ]);
    const digest = "33".repeat(48);
    const tdx = { MrTd: digest, MrSeam: digest, Rtmrs: Array(4).fill(digest), Xfam: "e742060000000000" };
    const pinned = { MinimumTeeTcbSvn: "02".repeat(16), AllowedPIIDs: ["22".repeat(16)] };
    const set = { ...tdx, ...pinned, AllowedTcbStatuses: ["OutOfDate"] };
    expect(timeline({ referenceValues: { insecure: [audit.insecure], tdx: [set] } })).toEqual([
      "1 warning tcb_status_accepted: accepts platforms with the TCB status OutOfDate, beside UpToDate",
    ]);
  });

  test("machines that nobody names, once for each kind", () => {
    const digest = "33".repeat(48);
    const measured = { MrTd: digest, MrSeam: digest, Rtmrs: Array(4).fill(digest), Xfam: "e742060000000000" };
    const tdx = { ...measured, MinimumTeeTcbSvn: "02".repeat(16) };
    const milans = [milan({ AllowedChipIDs: [] }), milan({ AllowedChipIDs: undefined }), milan()];
    const vlek = milan({ SigningKey: "VLEK", CSPID: "cloud.example", AllowedChipIDs: [] });
    const draft = { referenceValues: { insecure: [audit.insecure], snp: [...milans, vlek], tdx: [tdx] } };
    const one = "anybody with physical access to one can impersonate a VM";
    expect(timeline(draft, draft)).toEqual([
      `1 warning unpinned_machines: trusts any Milan: ${one}`,
      `1 warning unpinned_machines: trusts any machine of cloud.example: ${one}`,
      `1 warning unpinned_machines: trusts any machine with TDX: ${one}`,
    ]);
    const pinned = { insecure: [audit.insecure], snp: [milan()], tdx: [{ ...tdx, AllowedPIIDs: ["22".repeat(16)] }] };
    expect(timeline({ referenceValues: pinned })).toEqual([]);
  });

  test("mitigations that are not asked for any more", () => {
    const asking = (MinimumMitigationVector?: number): Draft => withSnp(milan({ MinimumMitigationVector }));
    expect(timeline(asking(5), asking(4))).toEqual([
      "2 warning lowered_minimum: lowers $.ReferenceValues.snp[0].MinimumMitigationVector from 5 to 4",
      "2 note changed_reference_values: the reference values changed",
    ]);
  });

  test("what policies let the host do", () => {
    const permits = (...names: string[]): string =>
      policyOf({ name: names.join("-") }).replace(
        '"containers":',
        `"permissions": ${JSON.stringify(names)}, "containers":`,
      );
    const regos = [permits("exec"), permits("debug-shell", "exec"), permits("logs"), permits("later")];
    const pods = regos.map((rego) => [rego, { SANs: ["x"] }] as const);
    const found = timeline({ pods });
    expect(found.toSorted()).toEqual([
      "1 warning host_permitted: Deployment shop/debug-shell-exec lets the host run any command in the pod's containers (exec)",
      "1 warning host_permitted: Deployment shop/debug-shell-exec lets the host run any command in the pod's containers, with a terminal and with input (debug-shell)",
      "1 warning host_permitted: Deployment shop/exec lets the host run any command in the pod's containers (exec)",
      "1 warning host_permitted: Deployment shop/later lets the host do later",
    ]);
  });

  test("privileged containers, and policies that are not ours", () => {
    const privileged = policyOf({ name: "root" }, { privileged: true });
    const rules = policyOf({ name: "odd" }, {}, "package agent_policy\ndefault CreateContainerRequest := true");
    const foreign = "package agent_policy\n";
    const pods = [privileged, rules, foreign].map((rego) => [rego, { SANs: ["x"] }] as const);
    expect(timeline({ pods }, { pods })).toEqual([
      "1 warning privileged_container: Deployment shop/root runs main with all privileges",
      `1 warning unknown_policy: the policy of pod with the names x does not have the form that generate writes: ${hashOf(foreign)}`,
      expect.stringMatching(
        /^1 warning unknown_rules: has policies with rules that this version does not make: [0-9a-f]{64}$/,
      ),
    ]);
  });

  test("a manifest that this version can't read", () => {
    const input = audit.input([{}, {}]);
    const [first = { manifest: Buffer.of(), transition: "", signedBy: [], rootKey: "" }, second = first] =
      input.history;
    const unreadable = { ...first, manifest: Buffer.from('{"Future": 1}') };
    const facts = auditFacts({ ...input, history: [unreadable, second] });
    expect(facts.timeline[0]).toMatchObject({ generation: 1, level: "warning", code: "unreadable_manifest" });
    expect(facts.history).toMatchObject([
      { policies: null, signedBy: [] },
      { policies: 1, changes: null, signedBy: [OWNER] },
    ]);
  });

  test("certificates that live longer than before, however it is written", () => {
    const lifetimes = [
      { certificateLifetime: "60m" },
      { certificateLifetime: "1h" },
      {},
      { certificateLifetime: "2h" },
    ];
    const entries = factsOf(...lifetimes).timeline.filter(({ code }) => code === "longer_certificates");
    expect(entries).toMatchObject([
      { generation: 3, level: "warning", text: "raises CertificateLifetime from 1h to 8760h" },
    ]);
  });

  test("a mesh CA that begins in the future, because the Coordinator's clock is ahead", () => {
    const { timeline: entries } = auditFacts(audit.input([{}], { at: new Date(NOW.getTime() - 1000) }));
    expect(entries.filter(({ code }) => code === "certificate_not_yet_valid").map(({ text }) => text)).toEqual([
      `the certificate of root CA begins only on ${NOW.toISOString()}: the clock may have been ahead`,
      `the certificate of mesh CA begins only on ${NOW.toISOString()}: the clock may have been ahead`,
    ]);
  });

  test("certificates that end soon", () => {
    const at = new Date("2036-05-15T00:00:00Z");
    const { timeline: entries } = auditFacts(audit.input([{}], { at }));
    expect(entries.filter(({ code }) => code === "certificate_expires").map(({ text }) => text)).toEqual([
      "the certificate of root CA ends on 2036-06-01T00:00:00.000Z",
      "the certificate of mesh CA ends on 2036-06-01T00:00:00.000Z",
    ]);
  });
});

test("policies: those in force first, with the manifests that list them, and those that were not given out", () => {
  const old = policyOf({ name: "old" });
  const input = audit.input([{ pods: [[old, {}]] }, { pods: [[web, grant]] }]);
  const withoutWeb = input.policies.filter((document) => !Buffer.from(document).includes('"web"'));
  const facts = auditFacts({ ...input, policies: withoutWeb });
  expect(facts.policies).toMatchObject([
    { role: "coordinator", first: 1, last: 2, active: true },
    { hash: webHash, pod: "pod with the names web", first: 2, last: 2, active: true, data: null, text: null },
    { hash: hashOf(old), pod: "Deployment shop/old", first: 1, last: 1, active: false },
  ]);
});

test("data is believed only where nothing stands behind it, and no key twice", () => {
  const texts = [
    `${web}\ndefault CreateContainerRequest := true\n`,
    web.replace('"kind":', '"kind": "Pod", "kind":'),
    web.replace('"workload"', '"subject"'),
  ];
  const facts = factsOf({ pods: texts.map((rego, index) => [rego, { SANs: [`n${index}`] }] as const) });
  expect(facts.policies.slice(1)).toMatchObject(texts.map((text) => ({ data: null, rules: null, text })));
});

test("a Coordinator with TDX: its quote, and Intel's word about the platform", async () => {
  const intel = await createTestVendor();
  const mrConfigId = Buffer.concat([Buffer.from(hashOf(COORDINATOR), "hex")], 48);
  const evidence = makeEvidence(intel, { body: { mrConfigId } });
  const verified = verifyTdx(evidence, { trustAnchors: new Set([intel.rootDigest]), at: INTEL_NOW });
  const { mrTd, mrSeam, rtmrs, xfam } = bodyOf(4);
  const hex = (bytes: Uint8Array): string => toHex(bytes);
  const measured = { MrTd: hex(mrTd), MrSeam: hex(mrSeam), Rtmrs: rtmrs.map(hex), Xfam: hex(xfam) };
  const referenceValues = { tdx: [{ ...measured, MinimumTeeTcbSvn: hex(TEE_TCB_SVN) }] };
  const facts = auditFacts(audit.input([{ referenceValues }], { coordinator: claimantOf(verified) }));
  expect(facts).toMatchObject({
    insecure: null,
    verdict: expect.stringContaining("runs in a confidential VM (Intel TDX)") as string,
    evidence: { tee: "tdx", referenceValues: "$.ReferenceValues.tdx[0]", tcbStatus: "UpToDate" },
  });
  expect(facts.evidence.fields["MRTD"]).toBe(hex(mrTd));
  // A test's vendor is never the pinned one.
  expect(facts.evidence.comparisons.filter(({ holds }) => !holds).map(({ field }) => field)).toEqual(["root key"]);
  expect(facts.certificates.slice(2).map(({ name }) => name)).toEqual([
    "Intel SGX PCK Certificate",
    "Intel SGX PCK Platform CA",
    "Intel SGX Root CA",
  ]);
  const der = decodePemCertificates(parseTdxQuote(evidence.quote).certificateChain, "chain");
  expect(
    facts.certificates
      .slice(2)
      .map(({ sha256 }) => sha256)
      .toSorted(),
  ).toEqual(der.map(sha256Hex).toSorted());
});
