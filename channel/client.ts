import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import {
  CallCredentials,
  ChannelCredentials,
  Client,
  type experimental,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import type { Socket } from "node:net";
import { callUnary } from "../api/grpc.ts";
import type { KeyPair } from "../pki/keys.ts";
import { ChannelError } from "./error.ts";
import { type Offer, startExchange } from "./exchange.ts";
import { fromStatus } from "./rejection.ts";
import { startTls } from "./tls.ts";

export interface ChannelClientOptions<P> extends Offer<P> {
  /** `host:port`, IPv6 in brackets. */
  readonly target: string;
  /** Who the client is; a throw-away key where it does not matter. */
  readonly keys: KeyPair;
  /** For connecting and the exchange, in milliseconds. */
  readonly handshakeMs: number;
  /** The largest answer that is taken, in bytes; the history of a large deployment where left out. */
  readonly answerBytes?: number;
}

const HISTORY = 256 * 1024 * 1024;

/** One attested connection to a Coordinator. It connects with the first call and is not renewed after it broke. */
export class ChannelClient<P> {
  readonly #client: Client;
  readonly #credentials: AttestedCredentials<P>;
  readonly #target: string;

  constructor(options: ChannelClientOptions<P>) {
    this.#credentials = new AttestedCredentials(options);
    this.#target = options.target;
    this.#client = new Client(options.target, this.#credentials, {
      // The address is the caller's word; neither a proxy of the environment nor a TXT record may change it.
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.enable_retries": 0,
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": options.answerBytes ?? HISTORY,
    });
  }

  /** What `appraiseServer` made of the server; undefined before the first call succeeded. */
  get server(): P | undefined {
    return this.#credentials.server;
  }

  /**
   * @param permit why the server should take a large request
   * @throws RemoteError where the server refuses, ChannelError where there is no connection, and whatever
   *   `appraiseServer` throws
   */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    deadline: Date,
    permit?: Buffer,
  ): Promise<MessageShape<O>> {
    try {
      return await callUnary(this.#client, method, request, deadline, permit);
    } catch (error) {
      if (this.#credentials.failure !== undefined) throw this.#credentials.failure;
      throw this.#explain(error as ServiceError);
    }
  }

  close(): void {
    this.#client.close();
    this.#credentials.close();
  }

  #explain(error: ServiceError): Error {
    const remote = fromStatus(error);
    if (remote !== undefined) return remote;
    if (error.code === status.DEADLINE_EXCEEDED) {
      const hint = "try again; if that does not help, look at the Coordinator's log";
      return new ChannelError("timeout", "no answer in time", { where: this.#target, hint, cause: error });
    }
    if (error.code === status.UNAVAILABLE) {
      return new ChannelError("unreachable", "no connection", {
        where: this.#target,
        got: error.details
          .replace(/^No connection established\. Last error: (?:Error: )?/, "")
          .replace(/\.? Resolution note: $/, ""),
        hint: "check the address, and that the Coordinator runs",
        cause: error,
      });
    }
    return new ChannelError("malformed_message", "the server answered out of protocol", {
      where: this.#target,
      got: `${status[error.code]} ${error.details}`,
      hint:
        error.code === status.UNIMPLEMENTED
          ? "a Coordinator of an earlier version does not know it: upgrade that first; or the port is not 1313, for the CLI"
          : "check the port: 1313 is for the CLI, 7777 for Initializers",
      cause: error,
    });
  }
}

/** Lets grpc-js connect through the attested channel. Keeps why that failed, which grpc-js would flatten to a text. */
class AttestedCredentials<P> extends ChannelCredentials {
  readonly #options: ChannelClientOptions<P>;
  readonly #closed = new AbortController();
  failure: unknown;
  server: P | undefined;

  constructor(options: ChannelClientOptions<P>) {
    super();
    this.#options = options;
  }

  /** Ends what grpc-js may have begun anew after a failure: it would keep the process alive. */
  close(): void {
    this.#closed.abort();
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials: CallCredentials = CallCredentials.createEmpty(),
  ): experimental.SecureConnector {
    return {
      connect: (socket) => this.#connect(socket),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials,
      destroy: () => undefined,
    };
  }

  async #connect(socket: Socket): Promise<experimental.SecureConnectResult> {
    const deadline = AbortSignal.any([AbortSignal.timeout(this.#options.handshakeMs), this.#closed.signal]);
    const tooLate = (): void => {
      socket.destroy();
    };
    deadline.addEventListener("abort", tooLate);
    try {
      const tls = await startTls(socket, deadline);
      this.server = await startExchange(tls, this.#options.keys, this.#options);
      return { socket: tls, secure: true };
    } catch (error) {
      socket.destroy();
      this.failure = deadline.aborted
        ? new ChannelError("timeout", "the peer did not finish the exchange", {
            where: this.#options.target,
            hint: "check that the address is a Coordinator's, and try again",
            cause: error,
          })
        : error;
      throw this.failure;
    } finally {
      deadline.removeEventListener("abort", tooLate);
    }
  }
}
