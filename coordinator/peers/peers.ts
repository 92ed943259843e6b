import { chipOf } from "../../attestation/claims.ts";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { again } from "../../runtime/again.ts";
import type { Logger } from "../../runtime/log.ts";
import { reasonOf } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import { CONFIRM_MS, TAKEOVER_MS } from "../state/bounds.ts";
import type { LatestInsecure } from "../state/pointer.ts";
import { parseLatestInsecure } from "../state/pointer.ts";
import { type Phase, PHASES } from "../state/phase.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { IsSelf } from "./acceptance.ts";
import type { PeerClient } from "./peer-client.ts";

export interface PeersOptions {
  readonly guard: StateGuard;
  /** `address:port` of all Coordinators of the deployment that DNS knows at this moment. */
  readonly addresses: () => Promise<readonly string[]>;
  readonly connect: (target: string) => PeerClient;
  /** Looks at the store at once. */
  readonly lookAtStore: () => void;
  /** SHA-256 of this Coordinator's own policy, hex. */
  readonly ownPolicy: string;
  readonly monotonic: () => number;
  /** 0 to 1. */
  readonly random: () => number;
  readonly audit: Audit;
  readonly log: Logger;
}

/** More than any deployment has: what DNS says is the host's word. */
const MOST_PEERS = 16;

/** How long to wait for the secrets from one peer before the next is asked, too, in milliseconds. */
const HEDGE_MS = 300;

/** How long what a peer said about itself counts, in milliseconds. */
const HEARD_MS = 3000;

/** What peers say that have nothing to give yet. */
const WAITING = new Set(["no_manifest", "needs_recovery", "stale_state", "unreachable", "timeout", "closed"]);

interface Peer {
  readonly client: PeerClient;
  /** Tells it what is in force here, and hears the same; never twice at once. */
  readonly exchange: () => void;
  /** What it has in force, and when it said so. */
  heard: { readonly latest: LatestInsecure; readonly at: number; readonly state: string } | undefined;
  /** Code of the last failure; undefined: it answered. */
  fault: string | undefined;
  /** What was told last about a refusal of its secrets. */
  refusal: string | undefined;
}

/** What is known of a peer, for people. */
export interface PeerStatus {
  readonly address: string;
  /** A phase, or `unreachable`. */
  readonly state: Phase | "unreachable";
  /** Number of the pointer that it has in force; 0: it has not said. */
  readonly sequence: bigint;
}

/**
 * The other Coordinators of the deployment. Every second, and as soon as something changes, each is told what is in force
 * here, and tells the same. Where secrets are lacking here they are asked for; where nobody has them, they are made anew.
 */
export class Peers {
  readonly #options: PeersOptions;
  readonly #peers = new Map<string, Peer>();
  readonly #selves = new Set<string>();
  #isStopped = false;
  #jitter = 0;
  #takeoverFault: string | undefined;
  #resolving: Promise<void> | undefined;

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  /** @returns what ends it */
  start(): () => void {
    this.#jitter = this.#options.random();
    const timer = setInterval(() => this.poke(), CONFIRM_MS);
    const unlisten = this.#options.guard.onChange(() => this.poke());
    this.poke();
    return () => {
      this.#isStopped = true;
      clearInterval(timer);
      unlisten();
      for (const { client } of this.#peers.values()) client.close();
    };
  }

  /** How many there are that answer, whatever they have in force. */
  get live(): number {
    return [...this.#peers.values()].filter((peer) => stateOf(peer) !== "unreachable").length;
  }

  get status(): readonly PeerStatus[] {
    return [...this.#peers].map(([address, peer]) => ({
      address,
      state: stateOf(peer),
      sequence: BigInt(peer.heard?.latest.sequence ?? 0),
    }));
  }

  /** A round at once, or once more after the one that is under way. */
  poke(): void {
    if (this.#isStopped) return;
    for (const { exchange } of this.#peers.values()) exchange();
    this.#requestRound();
  }

  readonly #requestRound = again(() => this.#round());

  async #round(): Promise<void> {
    if (this.#isStopped) return;
    await this.#resolve();
    for (const { exchange } of this.#peers.values()) exchange();
    if (!this.#options.guard.lacks) return;
    this.#options.lookAtStore();
    await this.#follow();
    if (this.#isStopped || !this.#options.guard.lacks) return;
    await this.#fetch();
    if (!this.#isStopped && this.#options.guard.lacks) await this.#takeOver();
  }

  /** Those that DNS names no longer are forgotten. Where it does not answer, those of before stay. */
  async #resolve(): Promise<void> {
    this.#resolving ??= this.#options
      .addresses()
      .then((targets) => {
        const wanted = new Set(
          targets
            .filter((target) => !this.#selves.has(target))
            .toSorted()
            .slice(0, MOST_PEERS),
        );
        for (const [target, { client }] of this.#peers) {
          if (wanted.has(target)) continue;
          client.close();
          this.#peers.delete(target);
        }
        for (const target of wanted) {
          if (this.#isStopped || this.#peers.has(target)) continue;
          const client = this.#options.connect(target);
          const peer: Peer = {
            client,
            exchange: again(() => this.#tellAndHear(peer).catch((error: unknown) => this.#failed(peer, error))),
            heard: undefined,
            fault: undefined,
            refusal: undefined,
          };
          this.#peers.set(target, peer);
        }
      })
      .catch((error: unknown) => {
        this.#options.log.debug(`the addresses of the peers are not known: ${describeError(error)}`);
      })
      .finally(() => (this.#resolving = undefined));
    // Who is known is asked also where DNS keeps silent.
    await Promise.race([this.#resolving, new Promise((resolve) => setTimeout(resolve, CONFIRM_MS).unref())]);
  }

  async #tellAndHear(peer: Peer): Promise<void> {
    const { guard, log, monotonic, lookAtStore } = this.#options;
    const { known, standing } = guard;
    if (known === undefined || this.#isStopped) return;
    const at = monotonic();
    const { rekey, latest: ours } = known;
    const theirs = await peer.client.latest({ pointer: ours.raw, fork: standing?.forkProof ?? [], rekey });
    const latest = parseLatestInsecure(Buffer.from(theirs.pointer), "the peer's pointer");
    if (peer.fault !== undefined) log.info({ peer: peer.client.target }, "the peer answers again");
    peer.fault = undefined;
    await guard.hear(theirs, theirs.from);
    peer.heard = { latest, at, state: theirs.state };
    if (guard.lacks) lookAtStore();
  }

  #failed(peer: Peer, error: unknown): void {
    const { log } = this.#options;
    const { target } = peer.client;
    if (this.#isStopped) return;
    if (error instanceof IsSelf) {
      this.#selves.add(target);
      this.#peers.delete(target);
      peer.client.close();
      return;
    }
    const code = codeOf(error);
    if (code === peer.fault) return;
    peer.fault = code;
    const line = `a peer can't be asked what it has in force: ${describeError(error)}`;
    if (WAITING.has(code)) log.info({ peer: target, code }, line);
    else log.warn({ peer: target, code }, line);
  }

  /** An amendment needs nobody's secrets. */
  async #follow(): Promise<void> {
    const { guard, log } = this.#options;
    try {
      await guard.follow();
    } catch (error) {
      log.debug(`what is in force can't be followed without a peer: ${describeError(error)}`);
    }
  }

  /** Asks one after the other; the next, too, where one takes its time. */
  async #fetch(): Promise<void> {
    const sequenceOf = ({ heard }: Peer): number => heard?.latest.sequence ?? 0;
    const candidates = [...this.#peers.values()].toSorted((one, other) => sequenceOf(other) - sequenceOf(one));
    const asked: Promise<void>[] = [];
    for (const peer of candidates) {
      if (this.#isStopped || !this.#options.guard.lacks) return;
      const attempt = this.#fetchFrom(peer);
      asked.push(attempt);
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise((resolve) => (timer = setTimeout(resolve, HEDGE_MS)));
      await Promise.race([attempt, patience]);
      clearTimeout(timer);
    }
    await Promise.all(asked);
  }

  async #fetchFrom(peer: Peer): Promise<void> {
    const { guard, log, audit } = this.#options;
    const { target } = peer.client;
    try {
      const { handover, giver } = await peer.client.recover();
      const snapshot = await guard.adopt(handover, giver.verified);
      peer.refusal = undefined;
      peer.fault = undefined;
      if (snapshot === undefined) return;
      const { manifestDigest: manifest, generation } = snapshot;
      const { policyHash: policy, claims } = giver.verified;
      log.info({ peer: target, manifest, generation, policy }, "recovered from a peer");
      const from = { peer: target, key: giver.key, policy, tee: claims.tee, chip: chipOf(claims) };
      audit.record({ event: "peer_recovery_received", ...from, manifest, generation });
    } catch (error) {
      if (error instanceof IsSelf) {
        this.#failed(peer, error);
        return;
      }
      if (this.#isStopped) return;
      const code = codeOf(error);
      if (code === peer.refusal) return;
      peer.refusal = code;
      const line = `no secrets from a peer: ${describeError(error)}`;
      if (WAITING.has(code)) {
        log.info({ peer: target, code }, line);
        return;
      }
      log.warn({ peer: target, code }, line);
      audit.record({ event: "peer_recovery_refused", peer: target, ...reasonOf(error) });
    }
  }

  /** Not while a peer lives that has what is in force: it may give it, or has a reason not to. */
  async #takeOver(): Promise<void> {
    const { guard, ownPolicy, monotonic, log, audit, lookAtStore } = this.#options;
    const { standing } = guard;
    if (standing?.movedAt === undefined) return;
    const now = monotonic();
    if (now - standing.movedAt < TAKEOVER_MS * (1 + this.#jitter / 2)) return;
    const { digest } = standing.highest;
    const isHad = ({ heard }: Peer): boolean => heard?.latest.digest === digest && now - heard.at < HEARD_MS;
    if ([...this.#peers.values()].some(isHad)) return;
    try {
      const snapshot = await guard.takeOver(ownPolicy);
      this.#takeoverFault = undefined;
      if (snapshot === undefined) return;
      const { manifestDigest: manifest, generation, latest } = snapshot;
      log.warn(
        { manifest, generation },
        "nobody had the mesh CA that was in force: made a new one; restart the workloads",
      );
      audit.record({ event: "taken_over", manifest, generation, transition: latest.transition });
    } catch (error) {
      lookAtStore();
      const code = codeOf(error);
      if (code === this.#takeoverFault) return;
      this.#takeoverFault = code;
      log.warn({ code }, `what is in force can't be taken over: ${describeError(error)}`);
    }
  }
}

function stateOf({ fault, heard }: Peer): PeerStatus["state"] {
  if (fault === "needs_recovery") return "recovery";
  if (fault === "no_manifest") return "empty";
  // What it says is a text of another program.
  return PHASES.find((phase) => fault === undefined && phase === heard?.state) ?? "unreachable";
}

function codeOf(error: unknown): string {
  return error instanceof CodedError ? error.code : "internal";
}
