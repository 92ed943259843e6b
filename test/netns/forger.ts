import { X509Certificate } from "node:crypto";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import { readCocoEvidence } from "../../attestation/collect/coco/evidence-json.ts";
import type { Attester } from "../../attestation/evidence.ts";
import { ChannelClient } from "../../channel/client.ts";
import { generateEcKey } from "../../pki/keys.ts";

/**
 * An outsider without a TEE, who wants a pod's certificate for a key and a connection of his own: he has an application of
 * the pod fetch the evidence. Writes the names of the certificate, or why there is none.
 * Usage: node forger.ts COORDINATOR APPLICATION_URL API_ADDRESS
 */
const [target = "", application = "", api = ""] = process.argv.slice(2);

const attester: Attester = {
  insecure: undefined,
  collect: async (reportData) => {
    const wanted = `http://${api}/aa/evidence?runtime_data=${Buffer.from(reportData).toString("base64url")}&encoding=base64`;
    const response = await fetch(`${application}/?url=${encodeURIComponent(wanted)}`);
    const body = Buffer.from(await response.arrayBuffer());
    if (response.status !== 200) throw new Error(`the application got ${body.toString()}`);
    return readCocoEvidence(body);
  },
};
const keys = await generateEcKey("P-256");
const client = new ChannelClient({ target, keys, attester, handshakeMs: 10_000 });
try {
  const { certChain } = await client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 10_000));
  process.stdout.write(new X509Certificate(certChain).subjectAltName ?? "no name");
} catch (error) {
  process.stdout.write(error instanceof Error ? error.message : String(error));
}
client.close();
