/** What a person asks: whether what answers there, or what was saved, is the deployment of this manifest. */
export interface Question {
  /** The bytes of the file. */
  readonly manifest: Uint8Array;
  readonly source: Source;
  /** SHA-256 of the Coordinator's policy, hex; undefined: any that the manifest lists as a Coordinator's. */
  readonly policy: string | undefined;
  readonly allowInsecure: boolean;
  /** SHA-256 of keys, hex: who may know the seed although the manifest does not let them. */
  readonly formerSeedshareOwners: readonly string[];
  /** PEM, of a workload that is to be of this deployment; undefined: none is asked about. */
  readonly certificate: Uint8Array | undefined;
}

export type Source =
  | { readonly kind: "coordinator"; readonly url: string }
  /** The bytes of an `evidence.json`. */
  | { readonly kind: "statement"; readonly statement: Uint8Array };

/** What has to be filled in, or filled in otherwise. */
export class InputProblem extends Error {
  /** The id of the field. */
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

/**
 * An address as people write it, with a scheme and without what would not be sent anyway. Only what the page's policy lets
 * through (policy.ts): the browser would say of the rest that there is no network.
 *
 * @throws InputProblem
 */
export function addressOf(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") throw new InputProblem("coordinator", "Give the address of the Coordinator.");
  const written = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `https://${trimmed}`;
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if (url === undefined || !["https:", "http:"].includes(url.protocol)) {
    throw new InputProblem(
      "coordinator",
      "This is no address of the web. It looks like https://coordinator.example.com.",
    );
  }
  if (url.username + url.password + url.search + url.hash !== "") {
    throw new InputProblem("coordinator", "Give the address without a user, a password, ? and #.");
  }
  if (url.protocol === "http:" && !["localhost", "127.0.0.1"].includes(url.hostname)) {
    throw new InputProblem("coordinator", "Plain http is only for localhost and 127.0.0.1. Everywhere else use https.");
  }
  return url.href;
}

/** @returns lower case @throws InputProblem */
export function formerOwnersOf(text: string): readonly string[] {
  const keys = text
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((key) => key !== "");
  if (keys.every((key) => /^[0-9a-f]{64}$/.test(key))) return keys;
  throw new InputProblem("former", "The SHA-256 of a key has 64 hexadecimal digits; put a space between two of them.");
}

/** @returns lower case; undefined: nothing is asked for @throws InputProblem */
export function policyOf(text: string): string | undefined {
  const policy = text.trim().toLowerCase();
  if (policy === "" || /^[0-9a-f]{64}$/.test(policy)) return policy || undefined;
  throw new InputProblem("policy", "A policy hash has 64 hexadecimal digits.");
}

/**
 * Which field a dropped file is for. A certificate is PEM (RFC 7468). An `evidence.json` is a statement of in-toto (https://in-toto.io/Statement/v1); whatever
 * else it is, the manifest's field says what is wrong with it.
 */
export function fieldOf(content: Uint8Array): "manifest" | "statement" | "certificate" {
  const head = new TextDecoder().decode(content.subarray(0, 4096));
  if (head.startsWith("-----BEGIN CERTIFICATE-----")) return "certificate";
  return head.includes('"https://in-toto.io/Statement/v1"') ? "statement" : "manifest";
}
