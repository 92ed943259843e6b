import type { Curve, Hash, Primitives } from "./primitives.ts";
import { looksLikeEcKey, looksLikeSignature } from "./shapes.ts";

/**
 * The primitives of primitives.ts on WebCrypto (https://www.w3.org/TR/webcrypto/), which answers later. A decision that asks
 * what is not answered yet is interrupted, and taken again when it is. Its outcome counts when it was taken with every
 * question answered: then it is what it would have been with answers at once, whatever it made of the interruptions.
 */

type Answer = Uint8Array | boolean;

interface Question {
  readonly kind: string;
  readonly inputs: readonly Uint8Array[];
  readonly ask: (...inputs: Uint8Array<ArrayBuffer>[]) => Promise<Answer>;
}

interface Answered {
  /** Of its own: the caller's may be views of something that changes. */
  readonly inputs: readonly Uint8Array[];
  readonly answer: Answer;
}

/** A decision asks the same each time that it is taken. One that asks more than this does not, or is several. */
const MOST_QUESTIONS = 10_000;

/** What one decision asked. */
class Answers {
  readonly #answers = new Map<string, Answered[]>();
  #count = 0;
  #open: Question | undefined;

  /** The first question of this run that is not answered. */
  get open(): Question | undefined {
    return this.#open;
  }

  /** @throws Interruption where nobody has answered it yet */
  find(question: Question): Answer {
    const known = this.#answers.get(keyOf(question))?.find(({ inputs }) => isSame(inputs, question.inputs));
    if (known !== undefined) return known.answer;
    // What is asked after the first one follows from an interruption that was caught.
    this.#open ??= question;
    throw new Interruption();
  }

  async resolve(question: Question): Promise<void> {
    if (++this.#count > MOST_QUESTIONS) throw new Error(`a decision asked more than ${MOST_QUESTIONS} questions`);
    const inputs = question.inputs.map((input) => new Uint8Array(input));
    const key = keyOf(question);
    const answered = { inputs, answer: await question.ask(...inputs) };
    this.#answers.set(key, [...(this.#answers.get(key) ?? []), answered]);
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

/** @throws Interruption */
function find(kind: string, inputs: readonly Uint8Array[], ask: Question["ask"]): Answer {
  if (current === undefined) throw new Error("a primitive was used outside of settle()");
  return current.find({ kind, inputs, ask });
}

const isTrue = (...question: Parameters<typeof find>): boolean => find(...question) === true;

/** Where to look. All of the inputs are compared then. */
function keyOf({ kind, inputs }: Question): string {
  return `${kind} ${inputs.map((input) => `${input.length}:${checksum(input)}`).join(" ")}`;
}

/** Fowler, Noll and Vo's, of 32 bits. */
function checksum(bytes: Uint8Array): number {
  let sum = 0x811c9dc5;
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193);
  return sum;
}

function isSame(one: readonly Uint8Array[], other: readonly Uint8Array[]): boolean {
  return one.length === other.length && one.every((bytes, index) => isEqual(bytes, other[index]));
}

function isEqual(one: Uint8Array, other: Uint8Array | undefined): boolean {
  return one === other || (one.length === other?.length && one.every((byte, index) => byte === other[index]));
}

const NAMES: Readonly<Record<Hash, string>> = { sha256: "SHA-256", sha384: "SHA-384", sha512: "SHA-512" };

export const digest: Primitives["digest"] = (hash, ...parts) => {
  const answer = find(`digest ${hash}`, parts, async (...all) => {
    const whole = new Uint8Array(await new Blob(all).arrayBuffer());
    return new Uint8Array(await crypto.subtle.digest(NAMES[hash], whole));
  });
  // A copy each time, as of node.ts: what one caller writes to it, the next must not read.
  return new Uint8Array(answer as Uint8Array);
};

export const isPublicKey: Primitives["isPublicKey"] = (type, spki) => {
  if (type.kind === "ecdsa" && !looksLikeEcKey(type.curve, spki)) return false;
  const algorithm = type.kind === "rsa" ? rsaPss("sha256") : ecdsa(type.curve);
  return isTrue(`key ${type.kind === "rsa" ? "rsa" : type.curve}`, [spki], async (key = NONE) => {
    return (await importKey(algorithm, key)) !== undefined;
  });
};

export const verifyEcdsa: Primitives["verifyEcdsa"] = (curve, hash, spki, data, signature) => {
  if (!looksLikeEcKey(curve, spki) || !looksLikeSignature(curve, signature)) return false;
  return isTrue(`ecdsa ${curve} ${hash}`, [spki, data, signature], async (key = NONE, signed = NONE, by = NONE) => {
    const imported = await importKey(ecdsa(curve), key);
    if (imported === undefined) return false;
    return crypto.subtle.verify({ name: "ECDSA", hash: NAMES[hash] }, imported, by, signed);
  });
};

export const verifyPss: Primitives["verifyPss"] = (hash, saltLength, spki, data, signature) =>
  isTrue(`pss ${hash} ${saltLength}`, [spki, data, signature], async (key = NONE, signed = NONE, by = NONE) => {
    const imported = await importKey(rsaPss(hash), key);
    return imported !== undefined && crypto.subtle.verify({ name: "RSA-PSS", saltLength }, imported, by, signed);
  });

const NONE = new Uint8Array();
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
