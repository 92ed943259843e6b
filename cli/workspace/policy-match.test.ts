import { expect, test } from "vitest";
import type { PolicyEntry } from "../../manifest/manifest.ts";
import type { CollectedPolicy } from "../../policy/collected-policies.ts";
import type { ManifestAtHand } from "./manifest-at-hand.ts";
import { requireSamePolicies } from "./policy-match.ts";

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
  };
  return { path: "manifest.json", bytes: Buffer.alloc(0), manifest };
}

const WEB: PolicyEntry = { sans: [{ kind: "dns", value: "web" }], workloadSecretId: "secret", role: undefined };
const NAMELESS: PolicyEntry = { sans: [], workloadSecretId: undefined, role: "coordinator" };

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
