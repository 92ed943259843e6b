import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Secret } from "../../runtime/secret.ts";
import { MeshProxyError, reason } from "../faults.ts";

/**
 * What the workload proves itself with, and the only anchor it believes others by (docs/design.md §2, shared volume).
 */
export interface Credentials {
  /** PEM: the leaf, then the intermediate CA. */
  readonly certChain: string;
  /** PEM, PKCS#8. */
  readonly key: Secret;
  /** PEM: the mesh CA, one certificate. */
  readonly meshCa: string;
  /** When the leaf expires. */
  readonly notAfter: Date;
}

const NAMES = { certChain: "certChain.pem", key: "key.pem", meshCa: "mesh-ca.pem" } as const;

/** Throws where whoever is to use the set can't. */
export type TryOut = (set: { readonly cert: Buffer; readonly key: Buffer; readonly ca: Buffer }) => unknown;

/**
 * Reads the files that the Initializer wrote.
 *
 * @throws MeshProxyError `certificates` where one is missing, broken, or does not belong to the others
 */
export async function loadCredentials(folder: string, tryOut?: TryOut): Promise<Credentials> {
  const files = {
    certChain: join(folder, NAMES.certChain),
    key: join(folder, NAMES.key),
    meshCa: join(folder, NAMES.meshCa),
  };
  const certChain = await read(files.certChain);
  const key = await read(files.key);
  const meshCa = await read(files.meshCa);

  const [leaf] = certificates(files.certChain, certChain, "the leaf certificate, then the intermediate CA");
  const [anchor, second] = certificates(files.meshCa, meshCa, "one certificate: the mesh CA");
  if (second !== undefined) {
    // Whatever stands in this file is trusted to name every workload.
    throw broken(files.meshCa, "several certificates", "one: the mesh CA");
  }
  if (!leaf.checkPrivateKey(privateKey(files.key, key))) {
    throw broken(files.key, "a key that the leaf of certChain.pem is not about", "the key of that certificate");
  }
  if (!leaf.verify(anchor.publicKey)) {
    throw broken(files.meshCa, "a CA that did not sign the leaf of certChain.pem", "the CA that signed it");
  }
  try {
    tryOut?.({ cert: certChain, key, ca: meshCa });
  } catch {
    throw broken(folder, "a set that TLS refuses", "what the Initializer writes");
  }
  return {
    certChain: certChain.toString("latin1"),
    key: new Secret(key),
    meshCa: meshCa.toString("latin1"),
    notAfter: leaf.validToDate,
  };
}

/** A text that is another one whenever one of the files is another one, or has other bytes. */
export async function fingerprint(folder: string): Promise<string> {
  const states = Object.values(NAMES).map(async (name) => {
    try {
      const { dev, ino, size, ctimeNs } = await stat(join(folder, name), { bigint: true });
      return `${dev}:${ino}:${size}:${ctimeNs}`;
    } catch (error) {
      return reason(error as Error);
    }
  });
  return (await Promise.all(states)).join(" ");
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new MeshProxyError("certificates", "can't read a file of the TLS configuration", {
      where: file,
      got: reason(error as Error),
      hint: "the Initializer writes it: has it succeeded, and is CONTRAST_TLS_CONFIG_DIR the volume it writes to?",
    });
  }
}

function certificates(file: string, pem: Buffer, want: string): [X509Certificate, ...X509Certificate[]] {
  const blocks = pem.toString("latin1").match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    const [first, ...others] = blocks.map((block) => new X509Certificate(block));
    if (first !== undefined) return [first, ...others];
  } catch {
    throw broken(file, "a certificate that can't be read", want);
  }
  throw broken(file, "no certificate", want);
}

function privateKey(file: string, pem: Buffer): ReturnType<typeof createPrivateKey> {
  try {
    return createPrivateKey(pem);
  } catch {
    // OpenSSL's message is left out: nothing about a key belongs into a log.
    throw broken(file, "no private key that can be read", "a private key, PEM, PKCS#8");
  }
}

function broken(where: string, got: string, want: string): MeshProxyError {
  const hint = "let the Initializer write the folder again by restarting the pod";
  return new MeshProxyError("certificates", "a file of the TLS configuration is wrong", { where, got, want, hint });
}
