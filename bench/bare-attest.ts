import { createServer } from "node:http";
import { evidenceToJson } from "../coordinator/attest/evidence-json.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { fromHex } from "../bytes/hex.ts";

/**
 * What it costs to make a report for each verifier, and nothing else: HTTP in Node, evidence of the software TEE over the nonce.
 * Takes the folder of a VM and the address, prints the port.
 */

const [directory = "", address] = process.argv.slice(2);
const attester = await openSimulatedAttester(directory);

const server = createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on("data", (piece: Buffer) => pieces.push(piece));
  request.once("end", () => {
    const { nonce } = JSON.parse(Buffer.concat(pieces).toString()) as { readonly nonce: string };
    const bytes = fromHex(nonce, 32) ?? new Uint8Array(32);
    void attester.collect(Buffer.concat([bytes, bytes])).then((evidence) => {
      const body = JSON.stringify({ version: 1, nonce, evidence: evidenceToJson(evidence) });
      response.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
    });
  });
});
server.listen(0, address, () => void process.stdout.write(`${(server.address() as { port: number }).port}\n`));
