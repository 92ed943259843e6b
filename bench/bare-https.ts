import { createServer } from "node:https";
import type { TlsIdentity } from "../channel/tls.ts";

/**
 * What Node does at best: HTTPS with certificates on both sides, a body that is read, and as many bytes in answer as the
 * transit port gives. Takes the identity of both sides as JSON and the address, prints the port.
 */

const [json = "", address] = process.argv.slice(2);
const { key, cert } = JSON.parse(json) as TlsIdentity;
const data = { ciphertext: `vault:v1:${"A".repeat(80)}`, key_version: 1 };
const body = `${JSON.stringify({ request_id: "0".repeat(36), lease_id: "", renewable: false, lease_duration: 0, data })}\n`;

const options = { key, cert, minVersion: "TLSv1.3", requestCert: true, rejectUnauthorized: false } as const;
const server = createServer(options, (request, response) => {
  request.resume().once("end", () => {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
  });
});
server.listen(0, address, () => void process.stdout.write(`${(server.address() as { port: number }).port}\n`));
