import { createPrivateKey, generateKeyPair, randomBytes, X509Certificate } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { toHex } from "../../bytes/encode.ts";
import { generateEcKey, type KeyPair, privateKeyPem, spkiDigest } from "../../pki/keys.ts";
import { SIMULATED_MEASUREMENT } from "./attester.ts";
import {
  amdSigner,
  ARK_EXTENSIONS,
  ASK_EXTENSIONS,
  issueCertificate,
  type Signer,
  vcekExtensions,
} from "./certificates.ts";
import { readOptional, readRequired, replace } from "./files.ts";
import { encodeIdentity, type IdBlock, readIdentity } from "./identity.ts";
import { MACHINE_PRODUCT_NAME, MACHINE_TCB } from "./machine.ts";

/**
 * A fake vendor: a root and an intermediate CA like AMD's, which exist nowhere else. It also plays the hypervisor and
 * the firmware that launch a VM. The root's private key is thrown away once it has signed.
 */
export interface SimulatedVendor {
  /** What a manifest names to trust it: lower-case hex of the SHA-256 of the root's SubjectPublicKeyInfo. */
  readonly rootDigest: string;
  /**
   * Launches a VM, or launches it again on the same chip: makes in `vmDir` what its attester needs.
   *
   * @param options hostData: the hash of the policy, 32 bytes; idBlock: where the image is signed
   */
  launch(vmDir: string, options: { readonly hostData: Uint8Array; readonly idBlock?: IdBlock }): Promise<void>;
}

const ARK = "ARK-Milan";
const ASK = "SEV-Milan";
const VALID_YEARS = 10;

type MakeKey = (certificate: "ark" | "ask") => Promise<KeyPair>;

const generateKeys = promisify(generateKeyPair);

/**
 * @param dir where its keys and certificates are kept: ark.pem, ask.pem, ask-key.pem
 * @param makeKey RSA with 4096 bits, for this certificate
 */
export async function openOrCreateVendor(
  dir: string,
  now: Date,
  makeKey: MakeKey = generateRsaKey,
): Promise<SimulatedVendor> {
  await mkdir(dir, { recursive: true });
  if ((await readOptional(dir, "ask.pem")) === undefined) await createVendor(dir, now, makeKey);
  const ark = await readRequired(dir, "ark.pem");
  const ask = await readRequired(dir, "ask.pem");
  const signer = amdSigner(createPrivateKey(await readRequired(dir, "ask-key.pem")));
  return {
    rootDigest: toHex(spkiDigest(new X509Certificate(ark).publicKey)),
    launch: async (vmDir, { hostData, idBlock }) => {
      await mkdir(vmDir, { recursive: true });
      const installed = (await readOptional(vmDir, "ark.pem")) === ark && (await readOptional(vmDir, "identity.json"));
      const chipId = installed
        ? (await readIdentity(vmDir)).chipId
        : await installChip(vmDir, { ark, ask, signer, now });
      const measurement = Buffer.from(SIMULATED_MEASUREMENT, "hex");
      const identity = { hostData, measurement, chipId, reportId: randomBytes(32), idBlock };
      await replace(vmDir, "identity.json", encodeIdentity(identity), 0o644);
    },
  };
}

/** ask.pem is written last: where it is, the rest is. */
async function createVendor(dir: string, now: Date, makeKey: MakeKey): Promise<void> {
  const [ark, ask] = await Promise.all([makeKey("ark"), makeKey("ask")]);
  const signer = amdSigner(ark.privateKey);
  const root = { subject: ARK, publicKey: ark.publicKey, serial: 0x10000, extensions: ARK_EXTENSIONS };
  const intermediate = { subject: ASK, publicKey: ask.publicKey, serial: 0x10001, extensions: ASK_EXTENSIONS };
  const validity = { notBefore: now, notAfter: yearsAfter(now, VALID_YEARS) };
  await replace(dir, "ark.pem", toPem(issueCertificate({ ...root, ...validity, issuer: ARK }, signer)), 0o644);
  await replace(dir, "ask-key.pem", privateKeyPem(ask.privateKey), 0o600);
  await replace(dir, "ask.pem", toPem(issueCertificate({ ...intermediate, ...validity, issuer: ARK }, signer)), 0o644);
}

interface Vendor {
  readonly ark: string;
  readonly ask: string;
  readonly signer: Signer;
  readonly now: Date;
}

/** A chip with its VCEK. identity.json goes first and comes back last: where it is, the rest belongs to it. */
async function installChip(vmDir: string, { ark, ask, signer, now }: Vendor): Promise<Uint8Array> {
  await rm(join(vmDir, "identity.json"), { force: true });
  const chipId = randomBytes(64);
  const keys = await generateEcKey("P-384");
  const vcek = issueCertificate(
    {
      subject: "SEV-VCEK",
      issuer: ASK,
      publicKey: keys.publicKey,
      serial: 0,
      notBefore: now,
      notAfter: yearsAfter(now, VALID_YEARS),
      extensions: vcekExtensions(MACHINE_PRODUCT_NAME, MACHINE_TCB, chipId),
    },
    signer,
  );
  await replace(vmDir, "vcek-key.pem", privateKeyPem(keys.privateKey), 0o600);
  await replace(vmDir, "vcek.pem", toPem(vcek), 0o644);
  await replace(vmDir, "ask.pem", ask, 0o644);
  await replace(vmDir, "ark.pem", ark, 0o644);
  return chipId;
}

function generateRsaKey(): Promise<KeyPair> {
  return generateKeys("rsa", { modulusLength: 4096 });
}

function yearsAfter(time: Date, years: number): Date {
  const later = new Date(time);
  later.setUTCFullYear(later.getUTCFullYear() + years);
  return later;
}

function toPem(der: Uint8Array): string {
  return new X509Certificate(der).toString();
}
