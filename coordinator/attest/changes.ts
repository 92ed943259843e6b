import type { IncomingHttpHeaders } from "node:http";
import { parsePermit, type Permit, PERMIT_HEADER } from "../../api/http/permit.ts";
import { type SetAnswer, SetRequest } from "../../api/http/set.ts";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { ManifestError } from "../../manifest/error.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Budget, Reservation } from "../../runtime/budget.ts";
import type { Logger } from "../../runtime/log.ts";
import { inForce, reasonOf } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import { tellOfPending, tellOfSet, tidyLater } from "../serve/tell-of-set.ts";
import { requireOwnersLeave } from "../state/authorize.ts";
import type { EncodedHistory } from "../state/encoded-history.ts";
import type { PendingChanges } from "../state/pending-changes.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { AttestError } from "./attest-error.ts";
import type { PublishedHistory } from "./published-history.ts";

/**
 * Changes of the manifest that come over HTTP, from anybody: they are worth the owners' signatures that they bring. What is in
 * between can keep a change back, and bring it again as long as the signatures are good; it can't change what was signed. So
 * nothing is taken here that nobody signs, such as the wish to revoke certificates of before.
 */
export interface ChangesOptions {
  readonly guard: StateGuard;
  readonly history: EncodedHistory;
  readonly published: PublishedHistory;
  readonly pending: PendingChanges;
  /** Of large requests, of all APIs. */
  readonly requests: Budget;
  readonly audit: Audit;
  readonly log: Logger;
}

/** What may be read. */
export interface Admitted {
  readonly permit: Permit;
  /** Of the body. */
  readonly bytes: number;
  readonly reservation: Reservation;
}

/**
 * What a byte of a body takes until it is stored: the byte, its text, the strings in that, what checks them, and what they
 * encode.
 */
const COST = 4;

/** A small body has a parser, too. */
const LEAST_COST = 64 * 1024;

/** All changes over HTTP are one source: they have a part of the budget, and leave the rest to the attested channel. */
const SOURCE = "http";

/** Characters of JSON that are in no string of a request: an object costs twenty times as much as its two braces. */
const MOST_STRUCTURE = 16 * 1024;
const STRUCTURE = new Set(Buffer.from("{}[],:"));

/** No caller's key is known. */
const NOBODY = "";

export class Changes {
  readonly #options: ChangesOptions;

  constructor(options: ChangesOptions) {
    this.#options = options;
  }

  /**
   * Before anything of the body is read: an owner has signed a change to a manifest of this digest, which may be made now.
   * Whoever is admitted gives the reservation back.
   *
   * @throws Refusal `needs_recovery`, `conflict`, `not_owner`, `immutable`, `bad_signature`; AttestError
   */
  admit(headers: IncomingHttpHeaders): Admitted {
    const { guard, requests } = this.#options;
    if (guard.phase === "empty") {
      throw new AttestError("channel_required", "the first manifest is set over the attested channel", {
        hint: "`contrast set -c <host>:1313`: nobody's signature vouches for a first manifest, so its carrier has to be known",
      });
    }
    const { manifest, latest, authority } = guard.changeable();
    const header = headers[PERMIT_HEADER];
    const permit = typeof header === "string" ? parsePermit(header) : undefined;
    if (permit === undefined) {
      throw new AttestError("permit_missing", "nothing says that an owner allows what the body has", {
        where: "Contrast-Permit",
        want: "SHA-256 of the manifest in hexadecimal, then key and signature of an owner in base64, with spaces between",
      });
    }
    const previous = Buffer.from(latest.transition, "hex");
    const { manifestDigest, ...signature } = permit;
    const change = { manifestDigest, previous, meshKey: spkiDigest(authority.meshKey.publicKey) };
    requireOwnersLeave(manifest, NOBODY, { change, signatures: [signature], signedMeshKey: undefined });
    const { "content-length": length } = headers;
    if (length === undefined) throw new AttestError("length_required", "the request does not say how long it is");
    const bytes = Number(length);
    const cost = Math.max(LEAST_COST, COST * bytes);
    const most = Math.floor(requests.limits.perSource / COST);
    if (bytes > most) {
      throw new AttestError("request_too_large", "the Coordinator has no memory for so long a request", {
        got: `${bytes} bytes`,
        want: `at most ${most} bytes`,
        hint: "leave out policies that the history in force has, use the attested channel, or raise the memory limit",
      });
    }
    const reservation = requests.reserve(SOURCE, cost);
    if (reservation === undefined) throw new AttestError("too_many_requests", "there is no room for this request now");
    return { permit, bytes, reservation };
  }

  /**
   * Makes the change, or leaves it pending where it takes more owners.
   *
   * @param peer who brings it: address and port
   * @param abandoned fires when nobody waits for the answer any more
   * @throws Refusal of many codes; AttestError `malformed_request`
   */
  async set(body: Buffer, { permit }: Admitted, peer: string, abandoned: AbortSignal): Promise<SetAnswer> {
    const { guard, history, audit } = this.#options;
    const who = { peer };
    try {
      const { manifest, policies, latestTransition, signedMeshKey, signatures } = parseRequest(body, permit);
      await history.requireRoomFor([manifest, ...policies]);
      const request = {
        manifest,
        policies: [...policies, ...(await this.#knownPolicies(manifest, policies))],
        latestTransition: Buffer.from(latestTransition, "hex"),
        signatures,
        signedMeshKey: signedMeshKey === undefined ? undefined : Buffer.from(signedMeshKey, "hex"),
        callerKey: NOBODY,
        revoke: false,
      };
      const result = await guard.propose(request, abandoned);
      if ("pending" in result) {
        tellOfPending(result.pending, who, this.#options);
        const { manifest: digest, signatures: given, missing, revoke } = result.pending;
        return { version: 1, outcome: "pending", manifest: digest, signatures: given.map(encode), missing, revoke };
      }
      tellOfSet(result, who, this.#options);
      tidyLater(this.#options);
      return { version: 1, outcome: "set", transition: result.snapshot.latest.transition };
    } catch (error) {
      audit.record({
        event: "request_refused",
        api: "http",
        method: "set",
        ...who,
        ...inForce(guard),
        ...reasonOf(error),
      });
      throw error;
    }
  }

  /** Those that the manifest lists, the history in force has, and nobody has sent. */
  async #knownPolicies(manifest: Uint8Array, sent: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const listed = policiesOf(manifest);
    const given = new Set(sent.map(sha256Hex));
    const { policies } = (await this.#options.published.read()).documents;
    return listed.filter((hash) => !given.has(hash)).flatMap((hash) => policies.get(hash) ?? []);
  }
}

interface Signed {
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

interface Request {
  readonly manifest: Buffer;
  readonly policies: readonly Buffer[];
  readonly latestTransition: string;
  readonly signedMeshKey: string | undefined;
  readonly signatures: readonly Signed[];
}

/** @throws AttestError `malformed_request` */
function parseRequest(body: Buffer, permit: Permit): Request {
  requireFlat(body);
  let value: unknown;
  try {
    // One byte for each: what is not ASCII has no place in it.
    value = JSON.parse(body.toString("latin1"));
  } catch {
    throw malformed("the body is no JSON");
  }
  const { data, error } = SetRequest.safeParse(value);
  if (data === undefined) {
    const [issue] = error.issues;
    throw malformed("the body is no request to set a manifest", {
      where: ["$", ...(issue?.path ?? [])].join(".").slice(0, 100),
      want: issue?.message.slice(0, 100),
    });
  }
  const manifest = decode(data.manifest);
  const [got, want] = [sha256Hex(manifest), toHex(permit.manifestDigest)];
  if (got !== want) throw malformed("the permit is for another manifest", { where: "$.manifest", got, want });
  return {
    manifest,
    policies: data.policies.map(decode),
    latestTransition: data.latestTransition,
    signedMeshKey: data.signedMeshKey,
    signatures: data.signatures.map(({ publicKey, signature }) => ({
      publicKey: decode(publicKey),
      signature: decode(signature),
    })),
  };
}

function requireFlat(body: Buffer): void {
  let found = 0;
  for (const byte of body) if (STRUCTURE.has(byte)) found++;
  if (found > MOST_STRUCTURE) throw malformed("the body has more parts than a request has");
}

/** @returns hashes; of what is no manifest none, and the change itself will say so */
function policiesOf(manifest: Uint8Array): string[] {
  try {
    return [...parseManifest(manifest).policies.keys()];
  } catch (error) {
    if (error instanceof ManifestError) return [];
    throw error;
  }
}

function decode(base64: string): Buffer {
  return Buffer.from(base64, "base64");
}

function encode({ publicKey, signature }: Signed): { publicKey: string; signature: string } {
  return { publicKey: Buffer.from(publicKey).toString("base64"), signature: Buffer.from(signature).toString("base64") };
}

function malformed(message: string, details: { where?: string; got?: string; want?: string | undefined } = {}) {
  return new AttestError("malformed_request", message, details);
}
