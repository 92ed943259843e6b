import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodUnary,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { type Client, type MethodDefinition, type ServiceError, Metadata, status } from "@grpc/grpc-js";
import type { IncomingHttpHeaders } from "node:http2";
import { decodeBounded } from "./bounded-message.ts";
import type { Call, Methods } from "./grpc-server.ts";
import { PERMIT_HEADER } from "./permit.ts";
import { Refusal } from "./refusal.ts";
import type { Status } from "./status.ts";

/** Joins grpc-js, which moves bytes, with protobuf-es, which knows the messages. */

/** The handlers of a service by method name; what they throw goes through `toStatus` of `addService`. */
export type Handlers<M extends GenServiceMethods> = {
  readonly [K in keyof M]: (
    request: MessageShape<M[K]["input"]>,
    call: CallContext,
  ) => Promise<MessageInitShape<M[K]["output"]> | Encoded>;
};

/** What a handler may know of its call beside the request. One that had to wait for its turn looks before it begins. */
export type CallContext = Pick<Call, "signal">;

/** A message that was encoded before, for many who ask for the same. */
export class Encoded {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/**
 * Adds a service of unary methods to those that a peer may call.
 *
 * @param toStatus every error leaves as the status that this makes of it
 * @param requireLarge throws the refusal of a caller who may not send a large request; where left out, nobody may
 */
export function addMethods<M extends GenServiceMethods>(
  methods: Methods,
  service: GenService<M>,
  handlers: Handlers<M>,
  toStatus: (error: unknown, method: string) => Status,
  requireLarge: (method: string, headers: IncomingHttpHeaders) => void = requireSmall,
): void {
  const untyped = handlers as Readonly<
    Record<string, (request: unknown, call: CallContext) => Promise<Record<string, unknown>>>
  >;
  for (const method of service.methods) {
    const handler = untyped[method.localName];
    if (handler === undefined) throw new Error(`${service.typeName} has no handler for ${method.name}`);
    methods.set(pathOf(service, method), {
      refuseLarge: (headers) => {
        try {
          requireLarge(method.name, headers);
          return undefined;
        } catch (error) {
          return toStatus(error, method.name);
        }
      },
      answer: async (bytes, call) => {
        try {
          call.signal.throwIfAborted();
          const response = await handler(parseRequest(method, bytes), call);
          if (response instanceof Encoded) return { status: { code: status.OK }, message: response.bytes };
          return { status: { code: status.OK }, message: serialize(method.output)(response), isOwn: true };
        } catch (error) {
          return { status: toStatus(error, method.name) };
        }
      },
    });
  }
}

/** @throws Refusal `request_too_large` */
export function requireSmall(method: string): void {
  throw new Refusal("request_too_large", "the request is larger than any of this method", { where: method });
}

/** @throws Refusal `malformed_request` */
function parseRequest(method: DescMethod, bytes: Uint8Array): MessageShape<DescMessage> {
  try {
    return decodeBounded(method.input, bytes);
  } catch (cause) {
    throw new Refusal("malformed_request", "the request is no message of its method", {
      where: method.input.typeName,
      got: `${bytes.length} bytes`,
      cause,
    });
  }
}

/**
 * Calls a unary method.
 *
 * @param deadline after which the call fails with DEADLINE_EXCEEDED
 * @param permit why a large request should be taken
 * @throws ServiceError of grpc-js
 */
export function callUnary<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  deadline: Date,
  permit?: Buffer,
): Promise<MessageShape<O>> {
  const metadata = new Metadata();
  if (permit !== undefined) metadata.set(PERMIT_HEADER, permit);
  const { path, requestSerialize, responseDeserialize } = definition(method.parent, method);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      metadata,
      { deadline },
      (error: ServiceError | null, response?: unknown) => {
        if (error === null) resolve(response as MessageShape<O>);
        else reject(error);
      },
    );
  });
}

/** A method as grpc-js takes it: unary, or with a stream of answers. */
export function definition(service: DescService, method: DescMethod): MethodDefinition<unknown, unknown> {
  return {
    path: pathOf(service, method),
    requestStream: false,
    responseStream: method.methodKind === "server_streaming",
    requestSerialize: serialize(method.input),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: serialize(method.output),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

export function pathOf(service: DescService, method: DescMethod): string {
  return `/${service.typeName}/${method.name}`;
}

function serialize(schema: DescMessage): (message: unknown) => Buffer {
  return (message) => Buffer.from(toBinary(schema, create(schema, message as MessageInitShape<DescMessage>)));
}
