import type { Curve, Hash, Primitives } from "./primitives.ts";

/**
 * The primitives of primitives.ts on WebCrypto (https://www.w3.org/TR/webcrypto/), which answers later. A decision that asks
 * what is not answered yet is interrupted, and taken again when it is. Its outcome counts when it was taken with every
 * question answered: then it is what it would have been with answers at once, whatever it made of the interruptions.
 */

interface Question {
  readonly kind: string;
  readonly inputs: readonly Uint8Array[];
  readonly ask: () => Promise<Uint8Array | boolean>;
}

/** What one decision asked. */
class Answers {
  readonly #answers = new Map<
    string,
    { readonly inputs: readonly Uint8Array[]; readonly answer: Uint8Array | boolean }[]
  >();
  #open: Question | undefined;

  /** The first question of this run that is not answered. */
  get open(): Question | undefined {
    return this.#open;
  }

  answer<T extends Uint8Array | boolean>(question: Question): T {
    const known = this.#answers.get(keyOf(question))?.find(({ inputs }) => isSame(inputs, question.inputs));
    if (known !== undefined) return known.answer as T;
    // What is asked after the first one follows from an interruption that was caught, or from nothing.
    this.#open ??= question;
    throw new Interruption();
  }

  async resolve(question: Question): Promise<void> {
    // The caller's arrays may be views of something that changes.
    const inputs = question.inputs.map((input) => input.slice());
    const answer = await question.ask();
    const key = keyOf(question);
    this.#answers.set(key, [...(this.#answers.get(key) ?? []), { inputs, answer }]);
    this.#open = undefined;
  }
}

/** Of a decision that has to be taken again. Nobody outside of this file sees it. */
class Interruption extends Error {}

/** Decisions don't wait, so there is one at a time. */
let current: Answers | undefined;

export const settle: Primitives["settle"] = async (decide) => {
  const answers = new Answers();
  for (;;) {
    const outcome = run(decide, answers);
    const { open } = answers;
    if (open === undefined) return outcome();
    await answers.resolve(open);
  }
};

function run<T>(decide: () => T, answers: Answers): () => T {
  const before = current;
  current = answers;
  try {
    const value = decide();
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  } finally {
    current = before;
  }
}

function ask<T extends Uint8Array | boolean>(
  kind: string,
  inputs: readonly Uint8Array[],
  answer: (...inputs: Uint8Array<ArrayBuffer>[]) => Promise<T>,
): T {
  if (current === undefined) throw new Error("a primitive was used outside of settle()");
  return current.answer<T>({ kind, inputs, ask: () => answer(...inputs.map((input) => new Uint8Array(input))) });
}

function keyOf({ kind, inputs }: Question): string {
  return `${kind} ${inputs.map(({ length }) => length).join(" ")}`;
}

function isSame(one: readonly Uint8Array[], other: readonly Uint8Array[]): boolean {
  return one.length === other.length && one.every((bytes, index) => isEqual(bytes, other[index]));
}

function isEqual(one: Uint8Array, other: Uint8Array | undefined): boolean {
  return one === other || (one.length === other?.length && one.every((byte, index) => byte === other[index]));
}

const NAMES: Readonly<Record<Hash, string>> = { sha256: "SHA-256", sha384: "SHA-384", sha512: "SHA-512" };

export const digest: Primitives["digest"] = (hash, ...parts) =>
  ask(`digest ${hash}`, parts, async (...all) => {
    const whole = new Uint8Array(await new Blob(all).arrayBuffer());
    return new Uint8Array(await crypto.subtle.digest(NAMES[hash], whole));
  });

export const isPublicKey: Primitives["isPublicKey"] = (type, spki) =>
  ask(`key ${type.kind === "rsa" ? "rsa" : type.curve}`, [spki], async (key) => {
    return (await importKey(type.kind === "rsa" ? rsaPss("sha256") : ecdsa(type.curve), key)) !== undefined;
  });

export const verifyEcdsa: Primitives["verifyEcdsa"] = (curve, hash, spki, data, signature) =>
  ask(`ecdsa ${curve} ${hash}`, [spki, data, signature], async (key, signed, by) => {
    const imported = await importKey(ecdsa(curve), key);
    if (imported === undefined) return false;
    return crypto.subtle.verify({ name: "ECDSA", hash: NAMES[hash] }, imported, by, signed);
  });

export const verifyPss: Primitives["verifyPss"] = (hash, saltLength, spki, data, signature) =>
  ask(`pss ${hash} ${saltLength}`, [spki, data, signature], async (key, signed, by) => {
    const imported = await importKey(rsaPss(hash), key);
    return imported !== undefined && crypto.subtle.verify({ name: "RSA-PSS", saltLength }, imported, by, signed);
  });

const ecdsa = (namedCurve: Curve) => ({ name: "ECDSA", namedCurve });
const rsaPss = (hash: Hash) => ({ name: "RSA-PSS", hash: NAMES[hash] });

type Algorithm = ReturnType<typeof ecdsa> | ReturnType<typeof rsaPss>;

async function importKey(algorithm: Algorithm, spki: Uint8Array<ArrayBuffer>) {
  try {
    return await crypto.subtle.importKey("spki", spki, algorithm, false, ["verify"]);
  } catch {
    return undefined;
  }
}

({ digest, isPublicKey, verifyEcdsa, verifyPss, settle }) satisfies Primitives;
