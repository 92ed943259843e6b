import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Secret } from "../../runtime/secret.ts";
import { MeshProxyError, reason } from "../faults.ts";

/**
 * What the workload proves itself with, and the only anchors it believes others by (docs/design.md §2, shared volume).
 */
export interface Credentials {
  /** PEM: the leaf, then the intermediate CA. */
  readonly certChain: string;
  /** PEM, PKCS#8. */
  readonly key: Secret;
  /** PEM: the mesh CA, and then those of before that are still trusted. */
  readonly meshCa: string;
  /** When the leaf expires. */
  readonly notAfter: Date;
  /** When the first of the mesh CAs of before ends, and the set has to be read again; undefined: there are none. */
  readonly trustEnds: Date | undefined;
}

/** Each costs a signature for every chain of a stranger: they have one name. */
const MOST_CAS = 4;

const NAMES = { certChain: "certChain.pem", key: "key.pem", meshCa: "mesh-ca.pem" } as const;

/** Throws where whoever is to use the set can't. */
export type TryOut = (set: { readonly cert: Buffer; readonly key: Buffer; readonly ca: Buffer }) => unknown;

/**
 * Reads the files that the Initializer wrote. A mesh CA of before whose time is over is left out, whether or not somebody
 * takes it out of the file: not every TLS looks at the dates of what it trusts.
 *
 * @throws MeshProxyError `certificates` where one is missing, broken, or does not belong to the others
 */
export async function loadCredentials(folder: string, now: Date, tryOut?: TryOut): Promise<Credentials> {
  const files = {
    certChain: join(folder, NAMES.certChain),
    key: join(folder, NAMES.key),
    meshCa: join(folder, NAMES.meshCa),
  };
  const certChain = await read(files.certChain);
  const key = await read(files.key);
  const meshCa = await read(files.meshCa);

  const [leaf] = certificates(files.certChain, certChain, "the leaf certificate, then the intermediate CA");
  const [first, ...others] = certificates(files.meshCa, meshCa, "the mesh CA, and those of before");
  if (others.length >= MOST_CAS) {
    // Whatever stands in this file is trusted to name every workload.
    throw broken(
      files.meshCa,
      `${others.length + 1} certificates`,
      `the mesh CA, and at most ${MOST_CAS - 1} of before`,
    );
  }
  const before = others.filter(({ validToDate }) => validToDate > now);
  const trusted = [first, ...before];
  if (!leaf.checkPrivateKey(privateKey(files.key, key))) {
    throw broken(files.key, "a key that the leaf of certChain.pem is not about", "the key of that certificate");
  }
  if (!trusted.some(({ publicKey }) => leaf.verify(publicKey))) {
    throw broken(files.meshCa, "a CA that did not sign the leaf of certChain.pem", "the CA that signed it");
  }
  const anchors = before.length === others.length ? meshCa : Buffer.from(trusted.map(String).join(""));
  try {
    tryOut?.({ cert: certChain, key, ca: anchors });
  } catch {
    throw broken(folder, "a set that TLS refuses", "what the Initializer writes");
  }
  return {
    certChain: certChain.toString("latin1"),
    key: new Secret(key),
    meshCa: anchors.toString("latin1"),
    notAfter: leaf.validToDate,
    trustEnds: firstEnd(before),
  };
}

/** The same without the mesh CAs of before whose time is over; the same object where there are none. */
export function withoutEnded<C extends Credentials>(credentials: C, now: Date): C {
  const [first, ...others] = blocksOf(credentials.meshCa).map((block) => new X509Certificate(block));
  const before = others.filter(({ validToDate }) => validToDate > now);
  if (first === undefined || before.length === others.length) return credentials;
  return { ...credentials, meshCa: [first, ...before].map(String).join(""), trustEnds: firstEnd(before) };
}

function firstEnd(certificates: readonly X509Certificate[]): Date | undefined {
  const ends = certificates.map(({ validToDate }) => validToDate);
  return ends.toSorted((one, other) => one.getTime() - other.getTime())[0];
}

function blocksOf(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
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
  const blocks = blocksOf(pem.toString("latin1"));
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
