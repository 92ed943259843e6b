import { createHash, createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { Attester, SnpEvidence } from "../evidence.ts";
import { readRequired, type TeeFile, unusable } from "./files.ts";
import { signReport } from "./firmware.ts";
import { readIdentity } from "./identity.ts";
import { MACHINE_REPORT } from "./machine.ts";

/** The measurement of every VM that the software vendor launches: 96 digits of hexadecimal. */
export const SIMULATED_MEASUREMENT = createHash("sha384").update("contrast software TEE 1").digest("hex");

/**
 * The software TEE: makes real SNP reports of version 3, byte for byte, signed by a VCEK under a root of its own. They
 * take the same way through parse, verify and validate as the hardware's.
 *
 * @param dir the directory of a VM that `SimulatedVendor.launch` made
 * @throws EvidenceError tee_unavailable
 */
export async function openSimulatedAttester(dir: string): Promise<Attester<SnpEvidence>> {
  const { idBlock, ...identity } = await readIdentity(dir);
  const authorKeyEnabled = idBlock?.authorKeyDigest.some((byte) => byte !== 0) === true;
  const launched = { ...identity, ...idBlock, authorKeyEnabled };
  const key = await readKey(dir);
  const certificates = await Promise.all(
    (["vcek.pem", "ask.pem", "ark.pem"] as const).map((name) => readDer(dir, name)),
  );
  return {
    insecure: "software TEE: proves nothing about hardware",
    collect: async (reportData) => {
      const report = signReport({ ...MACHINE_REPORT, ...launched, reportData }, key);
      return { kind: "snp", report, certificates };
    },
  };
}

async function readKey(dir: string): Promise<KeyObject> {
  const pem = await readRequired(dir, "vcek-key.pem");
  try {
    return createPrivateKey(pem);
  } catch {
    // Neither the file nor the error of the parser may go into a log.
    throw unusable(dir, "vcek-key.pem", "something else", "a private key, PEM");
  }
}

async function readDer(dir: string, name: TeeFile): Promise<Buffer> {
  const pem = await readRequired(dir, name);
  try {
    return new X509Certificate(pem).raw;
  } catch (cause) {
    throw unusable(dir, name, "something else", "a certificate, PEM", cause);
  }
}
