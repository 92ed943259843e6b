import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type GeneralNameType,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { createPrivateKey, KeyObject, randomBytes, type webcrypto } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A small mesh for tests, with certificates of the form that a Coordinator issues (docs/design.md §7): a root CA, a
 * self-signed mesh CA and an intermediate CA of the same key and name signed by the root, and leaves for workloads.
 */

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const HOUR = 3_600_000;
const USAGES = { client: ExtendedKeyUsage.clientAuth, server: ExtendedKeyUsage.serverAuth };
type Usage = keyof typeof USAGES;
const { subtle } = globalThis.crypto;

export interface Workload {
  /** PEM: the leaf, then the intermediate CA. */
  readonly certChain: string;
  /** PEM, PKCS#8. */
  readonly key: string;
}

export interface WorkloadOptions {
  /** Sorted into IP, URI and DNS names as in a manifest. */
  readonly sans?: readonly string[];
  readonly usages?: readonly Usage[];
  /** In relation to now. */
  readonly validForMs?: number;
}

export interface Mesh {
  /** PEM. */
  readonly meshCa: string;
  readonly issue: (options?: WorkloadOptions) => Promise<Workload>;
  /** A certificate that a workload issued, although it is no CA. */
  readonly issueBy: (issuer: Workload) => Promise<Workload>;
  /** PEM: the root CA, which no proxy is given. */
  readonly rootCa: string;
  /** The mesh after a `set`: another mesh CA under the same root. */
  readonly nextGeneration: () => Promise<Mesh>;
}

export async function createMesh(): Promise<Mesh> {
  const root = await generateKey();
  const rootName = "CN=Contrast root CA";
  const rootCa = await authority({ subject: rootName, keys: root, issuer: rootName, signingKey: root.privateKey });
  return createGeneration(root, pem(rootCa));
}

async function createGeneration(root: webcrypto.CryptoKeyPair, rootCa: string): Promise<Mesh> {
  const mesh = await generateKey();
  const meshName = "CN=Contrast mesh CA";
  const meshCa = await authority({ subject: meshName, keys: mesh, issuer: meshName, signingKey: mesh.privateKey });
  const intermediate = await authority({
    subject: meshName,
    keys: mesh,
    issuer: "CN=Contrast root CA",
    signingKey: root.privateKey,
  });
  const issueWith = async (
    issuer: { readonly name: string; readonly key: webcrypto.CryptoKey; readonly chain: string },
    { sans = ["web"], usages = ["client", "server"], validForMs = HOUR }: WorkloadOptions,
    subject = "CN=workload",
  ): Promise<Workload> => {
    const keys = await generateKey();
    const leaf = await X509CertificateGenerator.create({
      serialNumber: randomBytes(8).toString("hex"),
      subject,
      issuer: issuer.name,
      notBefore: new Date(Date.now() - 2 * HOUR),
      notAfter: new Date(Date.now() + validForMs),
      publicKey: keys.publicKey,
      signingKey: issuer.key,
      signingAlgorithm: P256,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(usages.map((usage) => USAGES[usage])),
        new SubjectAlternativeNameExtension(sans.map((value) => ({ type: kindOf(value), value }))),
      ],
    });
    const key = KeyObject.from(keys.privateKey).export({ format: "pem", type: "pkcs8" });
    return { certChain: pem(leaf) + issuer.chain, key };
  };
  return {
    meshCa: pem(meshCa),
    rootCa,
    nextGeneration: () => createGeneration(root, rootCa),
    issue: async (options = {}) =>
      issueWith({ name: meshName, key: mesh.privateKey, chain: pem(intermediate) }, options),
    async issueBy({ certChain, key }) {
      const pkcs8 = createPrivateKey(key).export({ format: "der", type: "pkcs8" });
      const signingKey = await subtle.importKey("pkcs8", pkcs8, P256, false, ["sign"]);
      return issueWith({ name: "CN=workload", key: signingKey, chain: certChain }, {}, "CN=guest");
    },
  };
}

/** A new folder with the files that an Initializer writes and a mesh proxy reads. */
export async function writeTlsConfig({ meshCa }: Mesh, { certChain, key }: Workload): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tls-config-"));
  await writeFile(join(folder, "certChain.pem"), certChain);
  await writeFile(join(folder, "key.pem"), key);
  await writeFile(join(folder, "mesh-ca.pem"), meshCa);
  return folder;
}

async function generateKey(): Promise<webcrypto.CryptoKeyPair> {
  return subtle.generateKey(P256, true, ["sign", "verify"]);
}

async function authority(names: {
  readonly subject: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly issuer: string;
  readonly signingKey: webcrypto.CryptoKey;
}): Promise<X509Certificate> {
  return X509CertificateGenerator.create({
    serialNumber: randomBytes(8).toString("hex"),
    subject: names.subject,
    issuer: names.issuer,
    notBefore: new Date(Date.now() - 2 * HOUR),
    notAfter: new Date(Date.now() + 2 * HOUR),
    publicKey: names.keys.publicKey,
    signingKey: names.signingKey,
    signingAlgorithm: P256,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
}

function kindOf(name: string): GeneralNameType {
  if (isIP(name) !== 0) return "ip";
  return name.includes(":") ? "url" : "dns";
}

function pem(certificate: X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}
