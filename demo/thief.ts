import { create } from "@bufbuild/protobuf";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect as tcpConnect } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { type ClientHello, ClientHelloSchema, ServerHelloSchema } from "../api/channel_pb.ts";
import { proveClientKey } from "../channel/client-key.ts";
import { readMessage, writeMessage } from "../channel/framing.ts";
import { ALPN, exporterOf, selfSigned, startTls } from "../channel/tls.ts";
import { generateEcKey } from "../pki/keys.ts";

/** Somebody on the network who wants a certificate and has no confidential VM. */

/** Poses as the Coordinator until one Initializer has shown its evidence. */
export async function trap(
  host: string,
): Promise<{ address: string; evidence: Promise<ClientHello>; close: () => void }> {
  const identity = await selfSigned(await generateEcKey("P-256"), new Date());
  const server = createServer({ ...identity, ALPNProtocols: [ALPN] });
  const evidence = new Promise<ClientHello>((resolve, reject) => {
    server.on("tlsClientError", reject);
    server.on("secureConnection", (socket: TLSSocket) => {
      socket.on("error", () => undefined);
      void readMessage(socket, ClientHelloSchema)
        .then(resolve, reject)
        .finally(() => socket.destroy());
    });
  });
  server.listen(0, host);
  await once(server, "listening");
  const { address, port } = server.address() as AddressInfo;
  return { address: `${address}:${port}`, evidence, close: () => server.close() };
}

/**
 * Shows stolen evidence to the real Coordinator, as its own, on a connection and with a key of its own.
 *
 * @returns the code of the refusal, or undefined where it was believed
 */
export async function relay(stolen: ClientHello, host: string, port: number): Promise<string | undefined> {
  const socket = tcpConnect(port, host);
  await once(socket, "connect");
  const tls = await startTls(socket, AbortSignal.timeout(5000));
  try {
    const own = proveClientKey(await generateEcKey("P-256"), exporterOf(tls));
    await writeMessage(tls, ClientHelloSchema, create(ClientHelloSchema, { ...stolen, ...own }));
    const { answer } = await readMessage(tls, ServerHelloSchema);
    return answer.case === "rejected" ? answer.value.code : undefined;
  } finally {
    tls.destroy();
  }
}
