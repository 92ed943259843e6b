import { expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { encodeAnnex } from "./annex.ts";
import type { Step } from "./history.ts";
import { annexOf as annexWith, digest, secret, version } from "./test-annex.ts";
import { annexOf, generationsOf } from "./generations.ts";

/** As far as the kind of a step goes: what makes it one, and no signature that is good. */
function step(number: number, root: string, annex: Uint8Array | undefined, isSigned = true): Step {
  const transition = {
    digest: digest(number),
    rootKey: root,
    annex: annex && sha256Hex(annex),
    signatures: isSigned ? [{}] : [],
  };
  return { manifest: Buffer.from([number]), annex, transition } as unknown as Step;
}

const one = encodeAnnex(annexWith({ db: secret(1, version(1)) }));
const two = encodeAnnex(annexWith({ db: secret(1, version(1)) }, { web: { data: { allowed: 1, used: 0 } } }));
const used = encodeAnnex(annexWith({ db: secret(1, version(1)) }, { web: { data: { allowed: 1, used: 1 } } }));
const anew = encodeAnnex(
  annexWith({ db: secret(1, version(1, digest(77))) }, { web: { data: { allowed: 1, used: 1 } } }),
);

test("amendments stand at their manifest and count none, and a rekey's annex is no amendment", () => {
  const steps = [
    step(1, "a", undefined, false),
    step(2, "a", one),
    step(3, "a", one),
    step(4, "a", two),
    step(5, "a", used, false),
    step(6, "b", anew),
  ];
  const { manifests, amendments } = generationsOf(steps);
  expect(manifests.map(({ transition }) => transition.digest)).toEqual([1, 3, 6].map(digest));
  expect(amendments.map(({ generation, kind, transition }) => [generation, kind, transition.digest])).toEqual([
    [1, "amendment", digest(2)],
    [2, "amendment", digest(4)],
    [2, "use", digest(5)],
  ]);
  expect(amendments.map(({ before }) => before.secrets.size)).toEqual([0, 1, 1]);
  expect(amendments.map(({ after }) => after.volumes.get("web")?.get("data")?.used)).toEqual([undefined, 0, 1]);
  expect(annexOf(steps.at(-1)).secrets.get("db")?.versions[0]?.sealed).toBe(digest(77));
});

test("a history without an annex has manifests alone", () => {
  const { manifests, amendments } = generationsOf([step(1, "a", undefined, false), step(2, "a", undefined)]);
  expect([manifests.length, amendments.length]).toEqual([2, 0]);
});
