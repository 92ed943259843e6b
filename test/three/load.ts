import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { UserAPI } from "../../api/userapi_pb.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import type { Chance } from "../../fuzz/mutate.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Owners } from "./deployment.ts";

/** What owners and Initializers do all the while, and what became of it. */

export interface Issued {
  /** SHA-256 of the key of the mesh CA that came with it, hex. */
  readonly meshKey: string;
  /** Milliseconds of a clock that nobody sets: when it was asked for, and when it was there. */
  readonly began: number;
  readonly at: number;
}

export interface Set {
  readonly name: string;
  /** When it was answered. */
  readonly at: number;
  readonly transition: string;
  readonly meshKey: string;
}

export interface Outcome {
  readonly sets: readonly Set[];
  /** Sets that failed, with the code. They may have happened, but those that somebody else won. */
  readonly failed: ReadonlyMap<string, string>;
  /** What no Coordinator may ever do. */
  readonly violations: readonly string[];
  readonly issued: readonly Issued[];
  /** How often each code refused something. */
  readonly refusals: Readonly<Record<string, number>>;
}

const SET_MS = 20_000;
const SETS_PAUSE_MS = 800;
const ENROLMENTS_PAUSE_MS = 40;
/** As an Initializer turns to another Coordinator of the Service. */
const ENROLMENT_MS = 6000;

export class Load {
  readonly #owners: Owners;
  readonly #addresses: readonly string[];
  readonly #chance: Chance;
  readonly #sets: Set[] = [];
  readonly #failed = new Map<string, string>();
  readonly #violations: string[] = [];
  readonly #issued: Issued[] = [];
  readonly #refusals: Record<string, number> = {};
  readonly #stop = new AbortController();
  readonly #work: Promise<void>[];
  #names = 0;

  constructor(owners: Owners, addresses: readonly string[], chance: Chance) {
    this.#owners = owners;
    this.#addresses = addresses;
    this.#chance = chance;
    this.#work = [
      this.#repeat(() => this.#set(), SETS_PAUSE_MS),
      this.#repeat(() => this.#set(), SETS_PAUSE_MS),
      ...addresses.map((address) => this.#repeat(() => this.#enroll(address), ENROLMENTS_PAUSE_MS)),
    ];
  }

  get outcome(): Outcome {
    return {
      sets: this.#sets,
      failed: this.#failed,
      violations: this.#violations,
      issued: this.#issued,
      refusals: this.#refusals,
    };
  }

  /** @returns when nothing is under way any more */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#work);
  }

  async #repeat(once: () => Promise<void>, pause: number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await once().catch((error: unknown) => this.#count(error));
      await sleep(pause * (0.5 + this.#chance.below(1000) / 1000));
    }
  }

  async #set(): Promise<void> {
    const name = `set-${process.pid}-${++this.#names}-${this.#chance.below(2 ** 30)}`;
    const client = this.#owners.workloadOwner(this.#chance.of(this.#addresses));
    try {
      const change = await this.#owners.allowed(client, name);
      const answer = await client
        .call(UserAPI.method.setManifest, change, new Date(Date.now() + SET_MS))
        .catch((error: unknown) => {
          this.#failed.set(name, codeOf(error));
          throw error;
        });
      this.#sets.push({
        name,
        at: performance.now(),
        transition: Buffer.from(answer.latestTransition).toString("hex"),
        meshKey: keyOf(answer.meshCaCert),
      });
    } finally {
      client.close();
    }
  }

  async #enroll(address: string): Promise<void> {
    const began = performance.now();
    const answer = await Promise.race([
      this.#owners.enroll(address),
      sleep(ENROLMENT_MS, undefined, { ref: false }).then(() => {
        throw new Error("timeout");
      }),
    ]);
    const [leaf = "", intermediate = ""] = answer.certChain.split(/(?<=-----END CERTIFICATE-----\n)/);
    const meshCa = new X509Certificate(answer.meshCaCert);
    // As a pod of the mesh checks it.
    const issuer = new X509Certificate(intermediate);
    if (
      !new X509Certificate(leaf).verify(meshCa.publicKey) ||
      !isEqual(spkiDigest(issuer.publicKey), spkiDigest(meshCa.publicKey))
    ) {
      this.#violations.push(`${address} issued a certificate that its mesh CA has not signed`);
    }
    this.#issued.push({ meshKey: keyOf(answer.meshCaCert), began, at: performance.now() });
  }

  #count(error: unknown): void {
    const name = codeOf(error);
    this.#refusals[name] = (this.#refusals[name] ?? 0) + 1;
  }
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : String(error);
}

export function keyOf(certificate: string): string {
  return toHex(spkiDigest(new X509Certificate(certificate).publicKey));
}
