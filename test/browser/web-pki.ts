import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { issueCa, issueLeaf } from "../../pki/certificate.ts";
import { generateEcKey } from "../../pki/keys.ts";

/** The PKI of the web, for tests: a CA that browsers trust, and a certificate of it for some loopback addresses. */
export interface WebPki {
  /** Paths of PEM files. */
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

const HOUR = 3_600_000;

export async function createWebPki(directory: string, addresses: readonly string[]): Promise<WebPki> {
  await mkdir(directory, { recursive: true });
  const [root, server] = [await generateEcKey("P-256"), await generateEcKey("P-256")];
  const now = Date.now();
  const validity = { notBefore: new Date(now - HOUR), notAfter: new Date(now + 24 * HOUR) };
  const issuer = { name: "Web CA of a test", key: root };
  const files = {
    ca: issueCa({ ...validity, subject: issuer.name, publicKey: root.publicKey, issuer, pathLength: 0 }),
    certificate: issueLeaf({
      ...validity,
      subject: "server",
      publicKey: server.publicKey,
      issuer,
      names: addresses.map((value) => ({ kind: "ip", value }) as const),
    }),
    key: server.privateKey.export({ type: "pkcs8", format: "pem" }),
  };
  const path = (name: string): string => join(directory, `${name}.pem`);
  for (const [name, pem] of Object.entries(files)) await writeFile(path(name), pem, { mode: 0o600 });
  return { ca: path("ca"), certificate: path("certificate"), key: path("key") };
}

/** Has Chromium of this home directory trust the CA (NSS, as Chromium on Linux does). */
export async function trustWebPki(home: string, { ca }: WebPki): Promise<void> {
  const database = join(home, ".pki", "nssdb");
  await mkdir(database, { recursive: true });
  execFileSync("certutil", ["-d", `sql:${database}`, "-N", "--empty-password"]);
  execFileSync("certutil", ["-d", `sql:${database}`, "-A", "-n", "web", "-t", "C,,", "-i", ca]);
}
