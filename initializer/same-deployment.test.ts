import { beforeAll, expect, test } from "vitest";
import { type Authority, createAuthority, issueChain } from "../coordinator/state/authority.ts";
import { issueCa } from "../pki/certificate.ts";
import { generateEcKey, type KeyPair } from "../pki/keys.ts";
import { generationOfChain, type Given, requireSameDeployment } from "./same-deployment.ts";

/** Who stands in for the Coordinator of a pod that runs, as the host can. */

const NOW = new Date("2026-06-01T12:00:00Z");
let rootKey: KeyPair;
let keys: KeyPair;
let first: Authority;
let second: Authority;
beforeAll(async () => {
  [rootKey, keys] = [await generateEcKey("P-384"), await generateEcKey("P-256")];
  [first, second] = [await authority(rootKey, 1), await authority(rootKey, 2)];
});

async function authority(root: KeyPair, number: number): Promise<Authority> {
  const generation = { number, manifest: `${number}`.repeat(64) };
  const meshKey = await generateEcKey("P-256");
  return createAuthority({ rootKey: root, meshKey, generation, certificateLifetimeMs: 86_400_000 }, NOW);
}

function given(by: Authority, { publicKey }: KeyPair = keys): Given {
  const certChain = issueChain(by, { publicKey, names: [{ kind: "dns", value: "web" }], extensions: new Map() }, NOW);
  return { certChain, meshCa: by.meshCa };
}

const check = (answer: Given, before: Authority = first): unknown =>
  requireSameDeployment(answer, keys.publicKey, first.rootCa, generationOfChain(given(before).certChain));

test("the same generation and a later one are taken", () => {
  expect(check(given(first))).toEqual({ number: 1, manifest: "1".repeat(64) });
  expect(check(given(second))).toMatchObject({ number: 2 });
});

test("a Coordinator with a seed of its own is refused", async () => {
  const answer = given(await authority(await generateEcKey("P-384"), 9));
  expect(() => check(answer)).toThrow(expect.objectContaining({ code: "another_deployment" }) as Error);
});

test("who stole the mesh CA's key of an earlier generation is refused, although the root signed its intermediate CA", () => {
  expect(() => check(given(first), second)).toThrow(expect.objectContaining({ code: "older_generation" }) as Error);
});

test("a real chain is refused where the mesh CA beside it is another one, or the key is not the pod's", async () => {
  const stranger = await authority(await generateEcKey("P-384"), 2);
  const real = given(second);
  const leafOf = (chain: string): string => chain.slice(0, chain.indexOf("-----BEGIN", 1));
  const intermediate = (chain: string): string => chain.slice(chain.indexOf("-----BEGIN", 1));
  const attacks: Given[] = [
    { ...real, meshCa: stranger.meshCa },
    given(second, await generateEcKey("P-256")),
    // A leaf of the stranger's, with the intermediate CA that everybody has seen.
    { certChain: leafOf(given(stranger).certChain) + intermediate(real.certChain), meshCa: stranger.meshCa },
    { certChain: leafOf(given(stranger).certChain) + intermediate(real.certChain), meshCa: real.meshCa },
    { certChain: leafOf(real.certChain), meshCa: real.meshCa },
    { certChain: "", meshCa: real.meshCa },
  ];
  for (const attack of attacks) {
    expect(() => check(attack)).toThrow(expect.objectContaining({ code: "another_deployment" }) as Error);
  }
});

test("an intermediate CA that names no generation is no later one", async () => {
  const meshKey = second.meshKey;
  const validity = { notBefore: NOW, notAfter: new Date(NOW.getTime() + 86_400_000) };
  const issuer = { name: "Contrast root CA", key: rootKey };
  const ca = issueCa({ ...validity, subject: "Contrast mesh CA", publicKey: meshKey.publicKey, issuer, pathLength: 0 });
  const { certChain, meshCa } = given(second);
  const answer = { certChain: certChain.slice(0, certChain.indexOf("-----BEGIN", 1)) + ca, meshCa };
  expect(() => check(answer)).toThrow(expect.objectContaining({ code: "older_generation" }) as Error);
});
