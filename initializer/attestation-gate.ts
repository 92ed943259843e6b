import { mayServeEvidence } from "../attestation/collect/coco/api.ts";
import { closeAttestationApi } from "../netfilter/attestation-api.ts";
import { NetfilterError } from "../netfilter/error.ts";
import { isListening } from "../netfilter/listening.ts";
import type { Environment } from "../runtime/environment.ts";
import type { Logger } from "../runtime/log.ts";

/**
 * Keeps the pod from CoCo's attestation API. The API gives evidence over any bytes to whoever asks on loopback, and an
 * application that fetches URLs for others asks for them, too: an outsider could have it fetch evidence over a connection
 * of his own, and get the pod's certificate. So the API is closed to everybody as soon as it is seen, with a gap for one
 * connection of this program at a time, and stays closed when this program is gone.
 */
export interface GateOptions {
  /** `127.0.0.1:8006`. */
  readonly address: string;
  /** CONTRAST_OPEN_ATTESTATION_API: it is left open. */
  readonly allowOpen: boolean;
  readonly environment: Environment;
  readonly log: Logger;
  /** Of 0 to 1. */
  readonly random: () => number;
  /** For tests: in place of the packet filter. */
  readonly close?: typeof closeAttestationApi;
}

/** Below the ports that the kernel gives to connections by itself, so that nobody has one of these by accident. */
const FIRST_PORT = 20_000;
const PORTS = 10_000;

export class AttestationGate {
  readonly #options: GateOptions;
  readonly #port: number;
  #state: "unseen" | "closed" | "left open" = "unseen";

  constructor(options: GateOptions) {
    this.#options = options;
    this.#port = Number(new URL(`http://${options.address}`).port || "80");
  }

  /**
   * Closes the API if it answers. Whoever calls this last before the application may start knows that it is closed, or not
   * there.
   *
   * @throws NetfilterError attestation_api_open
   */
  async secure(): Promise<void> {
    // Where a guest denies everything, asking would take long and say nothing.
    if (this.#state !== "unseen" || !(await isListening(this.#port))) return;
    if (!(await mayServeEvidence(this.#options))) return;
    const { allowOpen, log, address } = this.#options;
    if (allowOpen) {
      this.#state = "left open";
      log.warn(
        { address },
        "CoCo's attestation API stays OPEN to this pod: whoever makes an application of it fetch a URL can get the pod's certificate",
      );
      return;
    }
    try {
      await this.#close(undefined);
    } catch (error) {
      throw error instanceof NetfilterError ? this.#stillOpen(error) : error;
    }
    this.#state = "closed";
    log.info({ address }, "CoCo's attestation API is closed to this pod");
  }

  /** As `CocoApi.through`. @throws NetfilterError */
  async through<T>(use: (localPort: number | undefined) => Promise<T>): Promise<T> {
    await this.secure();
    if (this.#state !== "closed") return use(undefined);
    // Another one each time: the last one's connection may not be forgotten yet.
    const localPort = FIRST_PORT + Math.floor(this.#options.random() * PORTS);
    await this.#close(localPort);
    try {
      return await use(localPort);
    } finally {
      await this.#close(undefined);
    }
  }

  async #close(from: number | undefined): Promise<void> {
    const { close = closeAttestationApi, environment } = this.#options;
    await close(this.#port, from, environment);
  }

  #stillOpen(cause: NetfilterError): NetfilterError {
    return new NetfilterError("attestation_api_open", "CoCo's attestation API can't be kept from this pod", {
      where: `http://${this.#options.address}`,
      got: cause.describe(),
      want: "a packet filter that this program may change",
      hint: 'grant NET_ADMIN and NET_RAW as `contrast generate` does, or accept the risk with the annotation contrast.edgeless.systems/open-attestation-api: "true"',
      cause,
    });
  }
}
