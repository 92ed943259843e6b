import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCliDeployment, type Ended } from "./cli-deployment.ts";

/** A deployment whose manifest lets certificates live for an hour, through a `set` and a recovery, as programs. */

const deployment = createCliDeployment("127.99.0.1");
const { contrast, directory, editManifest, enroll, file, generate, result } = deployment;
const HOUR = 3_600_000;

interface Generation {
  readonly chain: string;
  readonly meshCa: string;
  readonly rootCa: string;
  readonly issued: Date;
}

/** Of the first manifest, of the second, and of the second after a recovery. */
const generations: Generation[] = [];
let verified: Readonly<Record<string, unknown>>;
let text: string;
let raised: string;

beforeAll(async () => {
  await succeed(generate());
  editManifest((manifest) => (manifest["CertificateLifetime"] = "1h"));
  const coordinator = await deployment.startCoordinator("state");
  await succeed(contrast("set"));
  await enrolled("first");
  editManifest((manifest) => (manifest["CertificateLifetime"] = "90m"));
  const { code, stderr } = await contrast("set");
  expect(code, stderr).toBe(0);
  raised = stderr;
  await enrolled("second");
  await deployment.stop(coordinator);
  await deployment.startCoordinator("state");
  await succeed(contrast("recover"));
  verified = await result("verify");
  text = await succeed(contrast("verify"));
  await enrolled("third");
}, 300_000);

afterAll(() => deployment.remove());

async function succeed(ended: Promise<Ended>): Promise<string> {
  const { code, stdout, stderr } = await ended;
  expect(code, stderr).toBe(0);
  return stdout;
}

async function enrolled(volume: string): Promise<void> {
  const { chain } = await enroll(volume);
  const [meshCa, rootCa] = ["mesh-ca.pem", "coordinator-root-ca.pem"].map((name) => join(directory, volume, name));
  generations.push({ chain, meshCa: meshCa ?? "", rootCa: rootCa ?? "", issued: new Date() });
}

function isAccepted(chain: string, ca: string, at: Date): boolean {
  const seconds = `${Math.floor(at.getTime() / 1000)}`;
  const flags = ["-x509_strict", "-purpose", "sslserver", "-attime", seconds];
  try {
    execFileSync("openssl", ["verify", ...flags, "-CAfile", ca, "-untrusted", chain, chain], { stdio: "pipe" });
    return true;
  } catch {
    return false;
  }
}

function certificatesOf(path: string): X509Certificate[] {
  const blocks = readFileSync(path, "utf8").match(/-----BEGIN [^-]*-----[^-]*-----END [^-]*-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function after({ issued }: Generation, ms: number): Date {
  return new Date(issued.getTime() + ms);
}

test("leaf and intermediate CA live as long as the manifest says, and the CAs of a pod's volume live on", () => {
  for (const [index, { chain, meshCa, rootCa }] of generations.entries()) {
    const lifetimes = certificatesOf(chain).map((one) => one.validToDate.getTime() - one.validFromDate.getTime());
    const lifetime = [1, 1.5, 1.5][index] ?? 0;
    expect(lifetimes).toEqual([lifetime * HOUR, lifetime * HOUR]);
    for (const ca of [meshCa, rootCa]) {
      expect(certificatesOf(ca)[0]?.validToDate.getTime()).toBeGreaterThan(Date.now() + 9 * 365 * 24 * HOUR);
    }
  }
});

test("a chain is accepted under both CAs of its generation, and under neither when its time is over", () => {
  for (const generation of generations) {
    const { chain, meshCa, rootCa } = generation;
    for (const ca of [meshCa, rootCa]) {
      expect(isAccepted(chain, ca, after(generation, 0))).toBe(true);
      expect(isAccepted(chain, ca, after(generation, 50 * 60_000))).toBe(true);
      expect(isAccepted(chain, ca, after(generation, 1.5 * HOUR))).toBe(false);
    }
  }
});

test("the mesh CA of another generation accepts no chain, of a recovery neither; the root accepts each while it lives", () => {
  const [first, second, third] = generations;
  if (first === undefined || second === undefined || third === undefined) throw new Error("a generation lacks");
  for (const [one, other] of [
    [first, second],
    [second, first],
    [second, third],
    [third, second],
  ] as const) {
    expect(isAccepted(one.chain, other.meshCa, after(third, 0))).toBe(false);
    expect(isAccepted(one.chain, other.rootCa, after(third, 0))).toBe(true);
  }
});

test("set warns where certificates will live longer", () => {
  expect(raised).toContain("warning: the manifest raises $.CertificateLifetime: ");
});

test("verify says until when those of earlier generations live, and then none does", () => {
  const until = new Date(verified["earlierCertificatesUntil"] as string);
  // 90 minutes after the mesh CA of the recovery, which begins five minutes before it was made.
  expect(Math.abs(until.getTime() - Date.now() - 85 * 60_000)).toBeLessThan(60_000);
  expect(verified["certificateLifetime"]).toBe("90m");
  expect(text).toContain(
    `earlier certificates: until ${until.toISOString()} for clients that trust coordinator-root-ca.pem`,
  );
  const [first, second, third] = generations;
  for (const { chain } of [first, second].filter((one) => one !== undefined)) {
    expect(isAccepted(chain, third?.rootCa ?? "", new Date(until.getTime() + 1000))).toBe(false);
    for (const { validToDate } of certificatesOf(chain))
      expect(validToDate.getTime()).toBeLessThanOrEqual(until.getTime());
  }
});

test("the intermediate CA of a chain and the mesh CA say which manifest they are of", () => {
  for (const [index, { chain, meshCa }] of generations.entries()) {
    for (const certificate of [certificatesOf(chain)[1], certificatesOf(meshCa)[0]]) {
      const shown = execFileSync("openssl", ["x509", "-noout", "-text"], {
        input: certificate?.toString() ?? "",
        encoding: "utf8",
      });
      expect(shown).toMatch(new RegExp(`1\\.3\\.9901\\.2\\.3\\.1: *\\n *\\.\\.${[1, 2, 2][index]}\\n`));
    }
  }
  const [, second] = JSON.parse(readFileSync(file("verify/history.json"), "utf8")) as { sha256: string }[];
  const text = certificatesOf(generations[2]?.chain ?? "")[1]?.raw.toString("latin1") ?? "";
  expect(text).toContain(second?.sha256);
});

test("set refuses a policy whose names make a certificate that nobody takes, and nothing changes", async () => {
  const before = readFileSync(file("manifest.json"));
  const names = Array.from({ length: 200 }, (_, index) => `web-${index}.shop.svc.cluster.local`);
  let hash = "";
  editManifest((manifest) => {
    const policies = manifest["Policies"] as Record<string, { SANs: string[]; Role?: string }>;
    hash = Object.keys(policies).find((key) => policies[key]?.Role === undefined) ?? "";
    Object.assign(policies[hash] ?? {}, { SANs: names });
  });
  for (const ended of [await contrast("set"), await generate()]) {
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain("certificate_too_long: ");
    expect(ended.stderr).toMatch(
      new RegExp(`at \\$\\.Policies\\["${hash}"\\]\\.SANs, got .* bytes, want .*9216 bytes`),
    );
  }
  expect((await result("verify", "-m", join(directory, "workspace/verify/manifest.2.json")))["generation"]).toBe(2);
  expect(readFileSync(file("verify/manifest.2.json"))).toEqual(before);
});
