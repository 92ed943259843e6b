import { cocoSnpJson, startCocoApi } from "../../attestation/collect/coco/test-coco-api.ts";
import { openSimulatedAttester } from "../../attestation/simulated/attester.ts";

/** CoCo's attestation API in a pod, with the evidence of a software TEE. Usage: node coco-api.ts HOST VM_FOLDER */
const [host = "", folder = ""] = process.argv.slice(2);
const attester = await openSimulatedAttester(folder);
await startCocoApi(host, async (data) => cocoSnpJson(await attester.collect(Buffer.concat([data], 64))), 8006);
process.stderr.write(`${JSON.stringify({ msg: "listening" })}\n`);
