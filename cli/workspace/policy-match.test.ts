import { expect, test } from "vitest";
import type { PolicyEntry } from "../../manifest/manifest.ts";
import { FIRST_VERSION } from "../../manifest/transit.ts";
import type { CollectedPolicy } from "../../policy/collected-policies.ts";
import type { ManifestAtHand } from "./manifest-at-hand.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { documentsOf, predecessorsIn, requireSamePolicies } from "./policy-match.ts";

const hash = (digit: string): string => digit.repeat(64);

function policy(digit: string, name: string, namespace?: string): CollectedPolicy {
  const file = `${name}.yml`;
  return {
    hash: hash(digit),
    document: Buffer.alloc(0),
    kind: "Deployment",
    name,
    namespace,
    file,
    initContainers: [],
    sidecars: [],
    where: `${file}:3:1`,
  };
}

function manifestWith(policies: Readonly<Record<string, PolicyEntry>>): ManifestAtHand {
  const manifest = {
    policies: new Map(Object.entries(policies)),
    referenceValues: { snp: [], tdx: [], insecure: [] },
    workloadOwnerKeyDigests: [],
    workloadOwnerThreshold: 1,
    seedshareOwnerPubKeys: [],
    seedshareThreshold: 1,
    notBefore: undefined,
    certificateLifetimeMs: 3_600_000,
    meshCaOverlapMs: 0,
    workloadSecretOverlapMs: 0,
  };
  return { path: "manifest.json", bytes: Buffer.alloc(0), manifest };
}

const WEB: PolicyEntry = {
  sans: [{ kind: "dns", value: "web" }],
  workloadSecretId: "secret",
  transit: FIRST_VERSION,
  role: undefined,
};
const NAMELESS: PolicyEntry = { sans: [], workloadSecretId: undefined, transit: FIRST_VERSION, role: "coordinator" };

test("files and manifest of one generate belong together, however often a policy stands", () => {
  const policies = [policy("a", "web"), policy("a", "copy"), policy("b", "coordinator")];
  const manifest = manifestWith({ [hash("a")]: WEB, [hash("b")]: NAMELESS });
  expect(() => requireSamePolicies(policies, manifest)).not.toThrow();
});

test("names every pod that the manifest lacks and every policy that no file has", () => {
  const policies = [policy("c", "emoji", "shop"), policy("d", "voting")];
  const manifest = manifestWith({ [hash("a")]: WEB, [hash("b")]: NAMELESS });
  const generate = "want a policy of manifest.json: run `contrast generate` on the files of the whole deployment";
  const file = "want its file too; or take the policy out of the manifest, if its pods are gone";
  expect(() => requireSamePolicies(policies, manifest)).toThrow(
    expect.objectContaining({
      code: "policy_mismatch",
      message: [
        "the files and the manifest do not belong together, 4 faults",
        `emoji.yml:3:1, Deployment shop/emoji: got policy ${hash("c")}, ${generate}`,
        `voting.yml:3:1, Deployment voting: got policy ${hash("d")}, ${generate}`,
        `manifest.json, $.Policies["${hash("a")}"]: got the policy of web, workload secret secret, which no given file has, ${file}`,
        `manifest.json, $.Policies["${hash("b")}"]: got the policy of no names, role coordinator, which no given file has, ${file}`,
      ].join("\n  "),
    }),
  );
});

test("a Coordinator of before needs no file beside one that has, and its policy comes from the history", () => {
  const old = Buffer.from("the policy of before");
  const [coordinator, web] = [policy("a", "coordinator"), policy("b", "web")];
  const entry = (role?: "coordinator"): PolicyEntry => ({
    sans: [],
    workloadSecretId: undefined,
    role,
    transit: FIRST_VERSION,
  });
  const atHand = manifestWith({
    [hash("a")]: entry("coordinator"),
    [hash("b")]: entry(),
    [sha256Hex(old)]: entry("coordinator"),
  });
  const predecessors = predecessorsIn([coordinator, web], atHand);
  expect(predecessors).toEqual([sha256Hex(old)]);
  expect(documentsOf(predecessors, [Buffer.from("another"), old], [coordinator, web], atHand)).toEqual([old]);
  const refused = expect.objectContaining({ code: "policy_mismatch" }) as Error;
  expect(() => documentsOf(predecessors, [Buffer.from("another")], [coordinator, web], atHand)).toThrow(refused);
  // Files without any Coordinator are not the whole deployment, and workloads have no predecessors.
  expect(predecessorsIn([web], atHand)).toEqual([]);
  expect(predecessorsIn([coordinator], atHand)).toEqual([sha256Hex(old)]);
  expect(() => requireSamePolicies([coordinator], atHand, predecessors)).toThrow(refused);
});
