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
import {
  type Client,
  type MethodDefinition,
  type Server,
  type ServerUnaryCall,
  type sendUnaryData,
  type ServiceError,
  type StatusObject,
  Metadata,
} from "@grpc/grpc-js";
import { Refusal } from "./refusal.ts";

/** Joins grpc-js, which moves bytes, with protobuf-es, which knows the messages. */

/** The handlers of a service by method name; what they throw goes through `toStatus` of `addService`. */
export type Handlers<M extends GenServiceMethods> = {
  readonly [K in keyof M]: (
    request: MessageShape<M[K]["input"]>,
    call: CallContext,
  ) => Promise<MessageInitShape<M[K]["output"]>>;
};

/** What a handler may know of its call beside the request. */
export interface CallContext {
  /**
   * Fires when nobody waits for the answer any more: the deadline of the call is over, or its caller is gone. The reason
   * is a Refusal `deadline_exceeded`. A handler that had to wait for its turn looks at it before it begins.
   */
  readonly signal: AbortSignal;
}

export type Status = Partial<StatusObject>;

/** Adds a service of unary methods to a server. Every error leaves as the status that `toStatus` makes of it. */
export function addService<M extends GenServiceMethods>(
  server: Server,
  service: GenService<M>,
  handlers: Handlers<M>,
  toStatus: (error: unknown, method: string) => Status,
): void {
  const untyped = handlers as Readonly<
    Record<string, (request: unknown, call: CallContext) => Promise<Record<string, unknown>>>
  >;
  const definitions: Record<string, MethodDefinition<unknown, unknown>> = {};
  const implementations: Record<
    string,
    (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => void
  > = {};
  for (const method of service.methods) {
    const handler = untyped[method.localName];
    if (handler === undefined) throw new Error(`${service.typeName} has no handler for ${method.name}`);
    // The request is parsed by `answer`: what grpc-js makes of an error in between is no refusal of ours.
    definitions[method.localName] = { ...definition(service, method), requestDeserialize: (bytes) => bytes };
    implementations[method.localName] = (call, callback) => {
      void answer(method, handler, call, toStatus).then(({ error, response }) => callback(error, response));
    };
  }
  server.addService(definitions, implementations);
}

async function answer(
  method: DescMethod,
  handler: (request: unknown, call: CallContext) => Promise<Record<string, unknown>>,
  call: ServerUnaryCall<unknown, unknown>,
  toStatus: (error: unknown, method: string) => Status,
): Promise<{ error: Status | null; response?: unknown }> {
  const abandoned = new AbortController();
  const abandon = (): void => abandoned.abort(new Refusal("deadline_exceeded", "nobody waits for the answer any more"));
  try {
    if (call.cancelled) abandon();
    else call.once("cancelled", abandon);
    abandoned.signal.throwIfAborted();
    const request = parseRequest(method, call.request as Uint8Array);
    const response = await handler(request, { signal: abandoned.signal });
    return { error: null, response: create(method.output, response) };
  } catch (error) {
    return { error: toStatus(error, method.name) };
  } finally {
    // Every call ends with this event.
    call.off("cancelled", abandon);
  }
}

/** @throws Refusal `malformed_request` */
function parseRequest(method: DescMethod, bytes: Uint8Array): MessageShape<DescMessage> {
  try {
    return fromBinary(method.input, bytes);
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
 * @throws ServiceError of grpc-js
 */
export function callUnary<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  deadline: Date,
): Promise<MessageShape<O>> {
  const { path, requestSerialize, responseDeserialize } = definition(method.parent, method);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      new Metadata(),
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
    path: `/${service.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === "server_streaming",
    requestSerialize: serialize(method.input),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: serialize(method.output),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

function serialize(schema: DescMessage): (message: unknown) => Buffer {
  return (message) => Buffer.from(toBinary(schema, message as MessageShape<DescMessage>));
}
