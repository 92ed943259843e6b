import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { callUnary } from "../../api/grpc.ts";
import type { Logger } from "../../runtime/log.ts";
import { Condition } from "./condition.ts";
import { WebError } from "./web-error.ts";

const DEADLINE_MS = 2000;

/** A gRPC service that the web server depends on. It may be down at any time; its channel connects again by itself. */
export class Backend {
  readonly #name: string;
  readonly #client: Client;
  readonly #now: () => Date;
  readonly #condition: Condition;

  /** @param target host:port */
  constructor(name: string, target: string, options: { readonly now: () => Date; readonly log: Logger }) {
    this.#name = name;
    this.#client = new Client(target, credentials.createInsecure(), {
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 2000,
      // A peer that vanishes without a word, with its whole machine, is noticed and left.
      "grpc.keepalive_time_ms": 5000,
      "grpc.keepalive_timeout_ms": 2000,
      "grpc.keepalive_permit_without_calls": 1,
    });
    this.#now = options.now;
    this.#condition = new Condition(`the ${name} service`, options.log);
  }

  /** @throws WebError: `unknown_emoji`, or `backend_unavailable` for whatever else goes wrong */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    try {
      const deadline = new Date(this.#now().getTime() + DEADLINE_MS);
      const response = await callUnary(this.#client, method, request, deadline);
      this.#condition.worked();
      return response;
    } catch (error) {
      const { code = status.UNKNOWN, details } = error as Partial<ServiceError>;
      if (code === status.NOT_FOUND) {
        this.#condition.worked();
        throw new WebError("unknown_emoji", "There is no such emoji.", { cause: error });
      }
      this.#condition.failed(status[code], details);
      throw new WebError("backend_unavailable", `The ${this.#name} service does not answer.`, { cause: error });
    }
  }

  close(): void {
    this.#client.close();
  }
}
