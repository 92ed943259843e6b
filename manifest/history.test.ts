import { generateKeyPairSync, sign } from "node:crypto";
import { expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import { type Change, changeToSign } from "./change.ts";
import type { ChangeSignature } from "./change-signature.ts";
import { type Annex, encodeAnnex } from "./annex.ts";
import { HistoryCheck, HistoryError, requireHistory, type Step } from "./history.ts";
import { annexOf, digest, secret, version } from "./test-annex.ts";
import { generationOf } from "./transition-kind.ts";
import { encodeTransition, parseTransition, type Transition, type TransitionFields } from "./transition.ts";

/** What nobody but the owners can make, whoever has the seed and the disk. */

const [ada, ben, eve] = ["P-256", "P-384", "P-521"].map((namedCurve): KeyPair =>
  generateKeyPairSync("ec", { namedCurve }),
);
if (ada === undefined || ben === undefined || eve === undefined) throw new Error("no keys");

/** Only this key of a manifest is looked at. */
function manifestOf(name: string, owners: readonly KeyPair[], threshold?: unknown): Buffer {
  const digests = owners.map(({ publicKey }) => toHex(spkiDigest(publicKey)));
  const manifest = { Name: name, WorkloadOwnerKeyDigests: digests, WorkloadOwnerThreshold: threshold };
  return Buffer.from(JSON.stringify(manifest));
}

function signBy({ privateKey, publicKey }: KeyPair, change: Change): ChangeSignature {
  return { publicKey: spki(publicKey), signature: sign("sha256", changeToSign(change), privateKey) };
}

const MESH_KEY = "dd".repeat(32);

function first(manifest: Buffer): Step {
  const fields = { previous: undefined, meshKey: undefined, signatures: [] };
  return step(manifest, { seedShares: "bb".repeat(32), rootKey: "cc".repeat(32), ...fields });
}

function step(manifest: Buffer, fields: Omit<TransitionFields, "manifest">): Step {
  const record = encodeTransition({ manifest: sha256Hex(manifest), ...fields });
  return { manifest, transition: parseTransition(record) };
}

/** What follows, signed by these for this change but for what is said otherwise. */
function next(
  { transition: before }: Step,
  manifest: Buffer,
  signers: readonly KeyPair[],
  changes: { readonly signed?: Partial<Change>; readonly stored?: Partial<Transition> } = {},
): Step {
  const previous = Buffer.from(before.digest, "hex");
  const change = { manifest, previous, meshKey: Buffer.from(MESH_KEY, "hex"), ...changes.signed };
  const signatures = signers.map((signer) => signBy(signer, change));
  const { seedShares, rootKey } = before;
  return step(manifest, {
    previous: before.digest,
    seedShares,
    rootKey,
    meshKey: MESH_KEY,
    signatures,
    ...changes.stored,
  });
}

const one = first(manifestOf("one", [ada, ben]));
const two = next(one, manifestOf("two", [ben]), [ada]);
const three = next(two, manifestOf("three", []), [ben]);

function codeOf(steps: readonly Step[]): string | undefined {
  try {
    requireHistory(steps);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(HistoryError);
    return (error as HistoryError).code;
  }
}

test("a history whose every change an owner of the manifest before signed is good", () => {
  for (const length of [1, 2, 3]) requireHistory([one, two, three].slice(0, length));
  // Two owners sign: both signatures are looked at.
  requireHistory([one, next(one, manifestOf("both", [ada]), [ada, ben])]);
});

test.each<[string, Step[]]>([
  ["a stranger signed", [one, next(one, manifestOf("x", [eve]), [eve])]],
  ["an owner signed beside a stranger", [one, next(one, manifestOf("x", [eve]), [ada, eve])]],
  ["an owner whom the manifest before had removed signed", [one, two, next(two, manifestOf("x", [ada]), [ada])]],
  ["an owner signed whom only the new manifest names", [one, two, next(two, manifestOf("x", [eve]), [eve])]],
  ["nobody is an owner any more", [one, two, three, next(three, manifestOf("x", [ben]), [ben])]],
  ["another manifest was signed", [one, next(one, manifestOf("x", []), [ada], { signed: { manifest: Buffer.of(1) } })]],
  [
    "another place in the history was signed",
    [
      one,
      two,
      next(two, manifestOf("x", []), [ben], { signed: { previous: Buffer.from(one.transition.digest, "hex") } }),
    ],
  ],
  [
    "another Coordinator's mesh CA was signed",
    [one, next(one, manifestOf("x", []), [ada], { signed: { meshKey: Buffer.alloc(32, 0xee) } })],
  ],
  [
    "the stored mesh CA key is not the signed one",
    [one, next(one, manifestOf("x", []), [ada], { stored: { meshKey: "ee".repeat(32) } })],
  ],
])("a history is refused in which %s", (_name, steps) => {
  expect(codeOf(steps)).toBe("unauthorized_history");
});

/** Two of three have to sign, from the second manifest on. */
const quorum = next(one, manifestOf("quorum", [ada, ben, eve], 2), [ada]);

test("a threshold counts from the change after the manifest that has it, and lowering it needs the old one", () => {
  const lowered = next(quorum, manifestOf("lowered", [ada, ben, eve]), [ada, eve]);
  requireHistory([one, quorum, lowered, next(lowered, manifestOf("x", [ada]), [ben])]);
  requireHistory([one, quorum, next(quorum, manifestOf("x", [ada]), [ada, ben, eve])]);
  expect(codeOf([one, quorum, next(quorum, manifestOf("x", [ada, ben, eve], 1), [ada])])).toBe("unauthorized_history");
});

test.each<[string, Step[]]>([
  ["one owner too few", [one, quorum, next(quorum, manifestOf("x", [ada]), [ben])]],
  [
    "an owner whom the manifest before removed counts as one of two",
    ((fewer) => [one, quorum, fewer, next(fewer, manifestOf("x", [ada]), [ada, eve])])(
      next(quorum, manifestOf("fewer", [ada, ben], 2), [ada, eve]),
    ),
  ],
  [
    "a stranger counts as one of two",
    ((fewer) => [one, fewer, next(fewer, manifestOf("x", []), [ada, eve])])(
      next(one, manifestOf("fewer", [ada, ben], 2), [ada]),
    ),
  ],
  [
    "the threshold is above the number of owners",
    ((most) => [one, most, next(most, manifestOf("x", []), [ada, ben])])(
      next(one, manifestOf("most", [ada, ben], 3), [ada]),
    ),
  ],
])("a history is refused in which %s signed", (_name, steps) => {
  expect(codeOf(steps)).toBe("unauthorized_history");
});

test.each([0, -1, 1.5, "2", false, null, [2], {}])("a threshold of %j is none", (threshold) => {
  const odd = next(one, manifestOf("odd", [ada, ben], threshold), [ada]);
  expect(codeOf([one, odd, next(odd, manifestOf("x", []), [ada, ben])])).toBe("broken_history");
});

test.each<[string, Step[]]>([
  ["begins in the middle", [two, three]],
  ["lacks one", [one, three]],
  ["has one twice", [one, one]],
  ["is backwards", [two, one]],
  ["has another manifest than the transition says", [one, { ...two, manifest: one.manifest }]],
  [
    "changes the seed shares",
    [one, next(one, manifestOf("x", []), [ada], { stored: { seedShares: "ab".repeat(32) } })],
  ],
  ["changes the root CA key", [one, next(one, manifestOf("x", []), [ada], { stored: { rootKey: "ab".repeat(32) } })]],
  [
    "has a manifest that is no JSON",
    ((begin) => [begin, next(begin, two.manifest as Buffer, [ada])])(first(Buffer.of(1))),
  ],
  [
    "has a manifest without owners",
    ((begin) => [begin, next(begin, two.manifest as Buffer, [ada])])(first(Buffer.from("{}"))),
  ],
])("a history is refused that %s", (_name, steps) => {
  expect(codeOf(steps)).toBe("broken_history");
});

test("no bit of a signature, of a key or of what it is over can be changed", () => {
  const { transition } = two;
  for (let bit = 8; bit < transition.record.length * 8; bit++) {
    const record = Buffer.from(transition.record);
    record.writeUInt8(record.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    let changed: Transition;
    try {
      changed = parseTransition(record);
    } catch {
      continue;
    }
    expect(codeOf([one, { transition: changed, manifest: two.manifest }]), `bit ${bit}`).toBeDefined();
  }
});

/** Amendments: what the annex of a history may do, and who has to have signed it. */

const PLAIN = annexOf({ db: secret(1, version(1)) }, { web: { data: { allowed: 2, used: 0 } } });
const USED = annexOf({ db: secret(1, version(1)) }, { web: { data: { allowed: 2, used: 1 } } });

/** Signed by these for this annex but for what is said otherwise. */
function amend(
  before: Step,
  annex: Annex,
  signers: readonly KeyPair[],
  changes: { readonly signed?: Partial<Change>; readonly stored?: Partial<Transition>; readonly bytes?: Buffer } = {},
): Step {
  const bytes = encodeAnnex(annex);
  const named = Buffer.from(sha256Hex(bytes), "hex");
  const made = next(before, before.manifest as Buffer, signers, {
    signed: { annex: named, ...changes.signed },
    stored: { annex: named.toString("hex"), ...changes.stored },
  });
  return { ...made, annex: changes.bytes ?? bytes };
}

/** A step that keeps the annex, as those of all other kinds do. */
function keep(
  before: Step,
  manifest: Buffer,
  signers: readonly KeyPair[],
  changes: Parameters<typeof next>[3] = {},
): Step {
  const stored = { annex: before.transition.annex, ...changes.stored };
  return { ...next(before, manifest, signers, { ...changes, stored }), annex: before.annex };
}

const amended = amend(one, PLAIN, [ada]);
const usedOnce = amend(amended, USED, []);
const zero = Buffer.alloc(32);

test("a history may be amended by its owners, from then on has an annex, and does not count that as a manifest", () => {
  const set = keep(usedOnce, manifestOf("two", [ben]), [ben]);
  const again = amend(set, annexOf({ db: secret(1) }, { web: { data: { allowed: 3, used: 1 } } }), [ben]);
  const steps = [one, amended, usedOnce, set, again];
  const check = new HistoryCheck();
  const kinds = steps.map((each) => check.next(each).kind);
  expect(kinds).toEqual(["first", "amendment", "use", "set", "amendment"]);
  expect(generationOf(steps.map(({ transition }) => transition))).toBe(2);
  expect(steps.map(({ transition }) => transition.version)).toEqual([2, 4, 4, 4, 4]);
});

test("a rekey brings the secrets of before, sealed anew", () => {
  const rootKey = "ce".repeat(32);
  const rekey = (annex: Annex): Step => {
    const stored = { rootKey, seedShares: "be".repeat(32), annex: sha256Hex(encodeAnnex(annex)) };
    const signed = { newRootKey: Buffer.from(rootKey, "hex") };
    return { ...next(amended, manifestOf("two", [ben]), [ada], { signed, stored }), annex: encodeAnnex(annex) };
  };
  const volumes = { web: { data: { allowed: 2, used: 0 } } };
  expect(codeOf([one, amended, rekey(annexOf({ db: secret(1, version(1, digest(0xa1))) }, volumes))])).toBeUndefined();
  expect(codeOf([one, amended, rekey(PLAIN)])).toBe("broken_history");
  expect(codeOf([one, amended, rekey(annexOf({}, volumes))])).toBe("broken_history");
  expect(codeOf([one, amended, rekey(USED)])).toBe("broken_history");
});

test.each<[string, Step[]]>([
  ["a stranger signed", [one, amend(one, PLAIN, [eve])]],
  ["an owner whom the manifest before had removed signed", [one, two, amend(two, PLAIN, [ada])]],
  ["one of two owners signed", [one, quorum, amend(quorum, PLAIN, [ada])]],
  ["an owner signed another annex", [one, amend(one, PLAIN, [ada], { signed: { annex: zero } })]],
  ["an owner signed another manifest", [one, amend(one, PLAIN, [ada], { signed: { manifest: zero } })]],
  ["an owner signed another place in the history", [one, amend(one, PLAIN, [ada], { signed: { previous: zero } })]],
  ["an owner signed for another mesh CA", [one, amend(one, PLAIN, [ada], { signed: { meshKey: zero } })]],
  ["an owner signed a set of this manifest", [one, amend(one, PLAIN, [ada], { signed: { annex: undefined } })]],
  [
    "an owner signed an amendment, and it became a set",
    ((annex) => [one, amended, keep(amended, one.manifest as Buffer, [ada], { signed: { annex } })])(
      Buffer.from(amended.transition.annex ?? "", "hex"),
    ),
  ],
  ["nobody is an owner any more", [one, two, three, amend(three, PLAIN, [ben])]],
])("a history is refused whose amendment %s", (_name, steps) => {
  expect(codeOf(steps)).toBe("unauthorized_history");
});

test("two of two owners may amend", () => {
  expect(codeOf([one, quorum, amend(quorum, PLAIN, [ada, eve])])).toBeUndefined();
});

test.each<[string, Step[]]>([
  ["has an annex that nobody shows", [one, { ...amended, annex: undefined }]],
  ["shows an annex that no transition names", [{ ...one, annex: encodeAnnex(PLAIN) }]],
  ["shows another annex than the transition names", [one, { ...amended, annex: encodeAnnex(USED) }]],
  ["has bytes for an annex that are none", [one, amend(one, PLAIN, [ada], { bytes: Buffer.from("{}") })]],
  [
    "names bytes as an annex that are none",
    ((bytes) => [
      one,
      amend(one, PLAIN, [ada], {
        bytes,
        stored: { annex: sha256Hex(bytes) },
        signed: { annex: Buffer.from(sha256Hex(bytes), "hex") },
      }),
    ])(Buffer.from('{"Secrets":{}, "Volumes":{}}')),
  ],
  ["drops the annex with a set", [one, amended, next(amended, manifestOf("two", [ben]), [ada])]],
  ["drops the annex with nothing else", [one, amended, next(amended, one.manifest as Buffer, [ada])]],
  [
    "drops the annex with a rekey",
    [
      one,
      amended,
      next(amended, one.manifest as Buffer, [ada], {
        stored: { version: 3, rootKey: "ce".repeat(32), seedShares: "be".repeat(32) },
        signed: { newRootKey: Buffer.from("ce".repeat(32), "hex") },
      }),
    ],
  ],
  [
    "changes the annex with a set",
    [
      one,
      amended,
      keep(amended, manifestOf("two", [ben]), [ada], { stored: { annex: sha256Hex(encodeAnnex(USED)) } }),
    ].map((each, index) => (index === 2 ? { ...each, annex: encodeAnnex(USED) } : each)),
  ],
  [
    "begins its annex with a set",
    [
      one,
      {
        ...next(one, manifestOf("two", [ben]), [ada], { stored: { annex: sha256Hex(encodeAnnex(PLAIN)) } }),
        annex: encodeAnnex(PLAIN),
      },
    ],
  ],
  ["begins its annex with a use", [one, amend(one, USED, [])]],
  [
    "changes the seed shares with an amendment",
    [one, amend(one, PLAIN, [ada], { stored: { seedShares: "be".repeat(32) } })],
  ],
  ["amends nothing", [one, amended, amend(amended, PLAIN, [ada])]],
  ["uses a leave by an amendment that owners signed", [one, amended, amend(amended, USED, [ada])]],
  [
    "uses two leaves at once",
    [
      one,
      amended,
      amend(amended, annexOf({ db: secret(1, version(1)) }, { web: { data: { allowed: 2, used: 2 } } }), []),
    ],
  ],
  [
    "grants itself a leave",
    [
      one,
      amended,
      amend(amended, annexOf({ db: secret(1, version(1)) }, { web: { data: { allowed: 3, used: 1 } } }), []),
    ],
  ],
  [
    "gives a secret to others without a signature",
    [
      one,
      amended,
      amend(
        amended,
        annexOf(
          { db: secret(1, { ...version(1), readers: ["workload:eve"] }) },
          { web: { data: { allowed: 2, used: 1 } } },
        ),
        [],
      ),
    ],
  ],
  ["undoes a use", [one, amended, usedOnce, amend(usedOnce, PLAIN, [ada])]],
])("a history is refused that %s", (_name, steps) => {
  expect(codeOf(steps)).not.toBeUndefined();
});

test("no bit of an amendment can be changed, nor of a use but its mesh CA", () => {
  for (const [before, step] of [
    [[one], amended],
    [[one, amended], usedOnce],
  ] as const) {
    const { record } = step.transition;
    // Who uses leaves has the seed, and signs the pointer: the mesh CA in such a step is a note.
    const isNote = (byte: number): boolean => step === usedOnce && byte >= 129 && byte < 161;
    for (let bit = 8; bit < record.length * 8; bit++) {
      if (isNote(bit >> 3)) continue;
      const changed = Buffer.from(record);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      let transition: Transition;
      try {
        transition = parseTransition(changed);
      } catch {
        continue;
      }
      expect(codeOf([...before, { ...step, transition }]), `bit ${bit}`).toBeDefined();
    }
  }
});
