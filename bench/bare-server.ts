import { Server, ServerCredentials } from "@grpc/grpc-js";
import { createServer } from "node:tls";
import { addService } from "../demo/apps/add-service.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import type { TlsIdentity } from "../channel/tls.ts";

/**
 * What the platform can do at best: `tls` hangs up after a handshake with certificates on both sides, `grpc` answers one
 * call with as many bytes as the Coordinator does. Takes the identity of both sides as JSON, prints the port.
 */

const ADDRESS = "127.89.0.2";
const [kind = "", json = ""] = process.argv.slice(2);
const { key, cert } = JSON.parse(json) as TlsIdentity;
const tell = (port: number): void => void process.stdout.write(`${port}\n`);

if (kind === "tls") {
  const options = { key, cert, minVersion: "TLSv1.3", requestCert: true, rejectUnauthorized: false } as const;
  const server = createServer({ ...options, noDelay: true });
  server.on("secureConnection", (socket) => socket.on("error", () => undefined).end());
  server.listen(0, ADDRESS, () => tell((server.address() as { port: number }).port));
} else {
  const server = new Server({ "grpc.enable_channelz": 0 });
  const answer = { certChain: cert.repeat(4), meshCaCert: cert, rootCaCert: cert };
  const unasked = (): Promise<never> => Promise.reject(new Error("nobody asks"));
  const others = { currentTrust: unasked, recover: unasked, latest: unasked, useFormatGrant: unasked };
  addService(server, MeshAPI, { newMeshCert: async () => answer, ...others }, () => ({}));
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) };
  const credentials = ServerCredentials.createSsl(Buffer.from(cert), [pair], true);
  server.bindAsync(`${ADDRESS}:0`, credentials, (error, port) => {
    if (error !== null) throw error;
    tell(port);
  });
}
