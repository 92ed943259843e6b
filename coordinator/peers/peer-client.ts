import { MeshAPI } from "../../api/meshapi_pb.ts";
import type { Attester } from "../../attestation/evidence.ts";
import { toHex } from "../../bytes/encode.ts";
import { ChannelClient } from "../../channel/client.ts";
import { ChannelError } from "../../channel/error.ts";
import type { Appraiser } from "../../channel/exchange.ts";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";
import { type KeyPair, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import type { Handover } from "../state/handover.ts";
import type { Told } from "../state/state-guard.ts";

/** For connecting and the exchange of evidence, and for a call, in milliseconds. */
const HANDSHAKE_MS = 5000;
const CALL_MS = 5000;

/** Keys, two certificates and a pointer have 4 KiB. */
const ANSWER_BYTES = 64 * 1024;

/** A peer that was accepted: what it is, and the key of its connection. */
export interface AcceptedPeer {
  readonly verified: VerifiedClaimant;
  /** SHA-256 of its SubjectPublicKeyInfo, hex. */
  readonly key: string;
}

export interface PeerClientOptions {
  /** `address:port`, IPv6 in brackets. */
  readonly target: string;
  readonly keys: KeyPair;
  readonly attester: Attester;
  /** Accepts a peer, or throws the refusal. */
  readonly accept: Appraiser<VerifiedClaimant>;
  readonly now: () => Date;
}

/**
 * The connection to one peer. It is kept from one call to the next. A server ends every connection after a while, so the
 * first failure on one that worked before is answered by a new one.
 */
export class PeerClient {
  readonly #options: PeerClientOptions;
  #client: ChannelClient<AcceptedPeer> | undefined;
  #isProven = false;

  constructor(options: PeerClientOptions) {
    this.#options = options;
  }

  get target(): string {
    return this.#options.target;
  }

  /** @throws RemoteError, ChannelError, and what `accept` throws */
  recover(): Promise<{ readonly handover: Handover; readonly giver: AcceptedPeer }> {
    return this.#call(async (client) => {
      const answer = await client.call(MeshAPI.method.recover, {}, this.#deadline());
      const giver = client.server;
      if (giver === undefined) throw new Error("a peer that answers was accepted");
      const handover = {
        seed: new Secret(answer.seed),
        salt: answer.salt,
        meshKey: new Secret(answer.meshKey),
        rootCa: answer.rootCaCert,
        meshCa: answer.meshCaCert,
        pointer: Buffer.from(answer.pointer),
        previousMeshCas: answer.previousMeshCaCerts,
        began: new Date(Number(answer.beganMs)),
      };
      return { handover, giver };
    });
  }

  /** @throws RemoteError, ChannelError, and what `accept` throws */
  latest({ pointer, fork, rekey }: Told): Promise<Told & { readonly state: string; readonly from: string }> {
    return this.#call(async (client) => {
      const request = { pointer, fork: [...fork], ...(rekey === undefined ? {} : { rekey }) };
      const answer = await client.call(MeshAPI.method.latest, request, this.#deadline());
      const { state, ...told } = answer;
      return { ...told, state, from: client.server?.key ?? "" };
    });
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
    this.#isProven = false;
  }

  async #call<T>(use: (client: ChannelClient<AcceptedPeer>) => Promise<T>): Promise<T> {
    const wasProven = this.#isProven;
    try {
      return await this.#attempt(use);
    } catch (error) {
      if (!wasProven || !(error instanceof ChannelError) || error.code === "timeout") throw error;
      return this.#attempt(use);
    }
  }

  async #attempt<T>(use: (client: ChannelClient<AcceptedPeer>) => Promise<T>): Promise<T> {
    const client = (this.#client ??= this.#connect());
    try {
      const result = await use(client);
      this.#isProven = true;
      return result;
    } catch (error) {
      // Who is refused by a method stays connected; all else is over.
      if (client.server === undefined || error instanceof ChannelError) {
        client.close();
        if (this.#client === client) this.close();
      }
      throw error;
    }
  }

  #connect(): ChannelClient<AcceptedPeer> {
    const { target, keys, attester, accept } = this.#options;
    return new ChannelClient<AcceptedPeer>({
      target,
      keys,
      attester,
      handshakeMs: HANDSHAKE_MS,
      answerBytes: ANSWER_BYTES,
      appraiseServer: async (claimant) => ({
        verified: await accept(claimant),
        key: toHex(spkiDigest(claimant.publicKey)),
      }),
    });
  }

  #deadline(): Date {
    return new Date(this.#options.now().getTime() + CALL_MS);
  }
}
