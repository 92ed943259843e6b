import { create, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { Metadata, sendUnaryData, Server, ServerUnaryCall, status } from "@grpc/grpc-js";
import { definition } from "../../api/grpc.ts";

/** The handlers of a service by method name. */
type Handlers<M extends GenServiceMethods> = {
  readonly [K in keyof M]: (request: MessageShape<M[K]["input"]>) => Promise<MessageInitShape<M[K]["output"]>>;
};

/** What grpc-js makes the answer of where a handler fails. */
interface Failure {
  readonly code?: status;
  readonly details?: string;
  readonly metadata?: Metadata;
}

/** Adds a service of unary methods to a server of grpc-js. */
export function addService<M extends GenServiceMethods>(
  server: Server,
  service: GenService<M>,
  handlers: Handlers<M>,
  toStatus: (error: unknown) => Failure,
): void {
  const untyped = handlers as Readonly<Record<string, (request: unknown) => Promise<Record<string, unknown>>>>;
  for (const method of service.methods) {
    const handler = untyped[method.localName];
    if (handler === undefined) throw new Error(`${service.typeName} has no handler for ${method.name}`);
    const answer = ({ request }: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>): void => {
      handler(request).then(
        (response) => callback(null, create(method.output, response)),
        (error: unknown) => callback(toStatus(error)),
      );
    };
    server.addService({ [method.localName]: definition(service, method) }, { [method.localName]: answer });
  }
}
