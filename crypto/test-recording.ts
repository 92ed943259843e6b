import { afterAll } from "vitest";
import * as node from "./node.ts";
import type { Primitives } from "./primitives.ts";
import * as web from "./web.ts";

/**
 * For all tests: stands in the place of node.ts (vitest.config.ts), hands every question on to it, and asks WebCrypto the same
 * after the last test of the file. So whatever tests decide about trust, vectors and properties alike, is known to be decided
 * in the same way in browsers.
 */

type Answer = Uint8Array | boolean;

interface Recorded {
  readonly what: string;
  readonly ask: (primitives: Primitives) => Answer;
  readonly answer: Answer;
}

const recorded = new Map<string, Recorded>();

/** @param ask asks the same once more, with copies: who asked may write to the inputs */
function record<T extends Answer>(
  what: string,
  inputs: readonly Uint8Array[],
  answer: T,
  ask: (primitives: Primitives, copies: readonly Uint8Array[]) => T,
): T {
  const key = `${what} ${inputs.map((input) => `${input.length} ${nameOf(input)}`).join()}`;
  if (recorded.has(key)) return answer;
  const copies = inputs.map((input) => new Uint8Array(input));
  const kept = typeof answer === "boolean" ? answer : new Uint8Array(answer);
  recorded.set(key, { what, answer: kept, ask: (primitives) => ask(primitives, copies) });
  return answer;
}

function nameOf(input: Uint8Array): string {
  return Buffer.from(node.digest("sha256", input)).toString("latin1");
}

export const digest: Primitives["digest"] = (hash, ...parts) =>
  record(`digest ${hash}`, parts, node.digest(hash, ...parts), (primitives, copies) =>
    primitives.digest(hash, ...copies),
  );

export const isPublicKey: Primitives["isPublicKey"] = (type, spki) =>
  record(`key ${JSON.stringify(type)}`, [spki], node.isPublicKey(type, spki), (primitives, [key = NONE]) =>
    primitives.isPublicKey(type, key),
  );

export const verifyEcdsa: Primitives["verifyEcdsa"] = (curve, hash, ...inputs) =>
  record(
    `ecdsa ${curve} ${hash}`,
    inputs,
    node.verifyEcdsa(curve, hash, ...inputs),
    (primitives, [spki = NONE, data = NONE, signature = NONE]) =>
      primitives.verifyEcdsa(curve, hash, spki, data, signature),
  );

export const verifyPss: Primitives["verifyPss"] = (hash, saltLength, ...inputs) =>
  record(
    `pss ${hash} ${saltLength}`,
    inputs,
    node.verifyPss(hash, saltLength, ...inputs),
    (primitives, [spki = NONE, data = NONE, signature = NONE]) =>
      primitives.verifyPss(hash, saltLength, spki, data, signature),
  );

const NONE = new Uint8Array();

export const { settle } = node;

/** Asks another implementation what was asked since the last time. @returns how many questions, and which it answers otherwise */
export async function differences(other: Primitives): Promise<{ readonly asked: number; readonly wrong: string[] }> {
  const questions = [...recorded.values()];
  recorded.clear();
  const wrong: string[] = [];
  for (let at = 0; at < questions.length; at += AT_A_TIME) {
    const some = questions.slice(at, at + AT_A_TIME);
    const answers = await Promise.all(some.map(async ({ ask }) => other.settle(() => ask(other))));
    wrong.push(...some.filter(({ answer }, index) => !isSame(answer, answers[index])).map(({ what }) => what));
  }
  return { asked: questions.length, wrong };
}

const AT_A_TIME = 64;

function isSame(one: Answer, other: Answer | undefined): boolean {
  return one instanceof Uint8Array && other instanceof Uint8Array ? Buffer.compare(one, other) === 0 : one === other;
}

afterAll(async () => {
  const { wrong } = await differences(web);
  if (wrong.length > 0) throw new Error(`WebCrypto answers otherwise: ${wrong.join(", ")}`);
});

({ digest, isPublicKey, verifyEcdsa, verifyPss, settle }) satisfies Primitives;
