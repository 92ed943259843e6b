import "reflect-metadata";
import { ExtendedKeyUsage, KeyUsageFlags } from "@peculiar/x509";
import { asyncProperty, assert, boolean, constantFrom, integer, option, record, subarray } from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { engineFile } from "../../mesh-proxy/native/addon.ts";
import { authority, issue, keyOf, pem } from "./verdicts/authority.ts";
import { judge, type Judge } from "./verdicts/engines.ts";
import { type Authorities, createAuthorities, KINDS, meshOf } from "./verdicts/kinds.ts";

/**
 * Both engines think the same of a peer's certificate, and say the same. What differs is named here, one by one: the native
 * engine takes no keys but those of the mesh, which are of ECDSA with P-256, or P-384 (docs/decisions/0035-tls-of-the-engine.md).
 */

const NO_ENGINE = engineFile() === undefined ? " (skipped: there is no engine; npm run build:engine)" : "";

type Verdicts = Readonly<{ native: string; streams: string }>;

const untrusted = {
  client: { native: "client_certificate_untrusted", streams: "served" },
  upstream: { native: "upstream_untrusted", streams: "served" },
};
/** Who is asked for another kind of key has none to show. */
const unasked = {
  client: { native: "client_certificate_missing", streams: "served" },
  upstream: { native: "tls_handshake", streams: "served" },
};

const DIFFERENCES: Readonly<Record<string, Partial<Record<"client" | "upstream", Verdicts>>>> = {
  "below a CA of P-521": untrusted,
  "below a CA of RSA": untrusted,
  "signed with SHA-512": untrusted,
  "with a key of Ed25519": unasked,
  "with a key of P-521": unasked,
  "with a key of RSA": unasked,
  // More certificates than one of the mesh has: refused before a signature is checked.
  "with eight strange certificates behind": untrusted,
  // No workload is a CA. OpenSSL does not mind.
  "that says it is a CA": untrusted,
};

let authorities: Authorities;
beforeAll(async () => void (authorities = await createAuthorities()));

async function judges(): Promise<Record<"native" | "streams", Judge>> {
  const { mesh, own } = meshOf(authorities);
  return { native: await judge("native", mesh, own), streams: await judge("streams", mesh, own) };
}

describe.skipIf(NO_ENGINE !== "")(`both engines${NO_ENGINE}`, () => {
  test.each(["client", "upstream"] as const)(
    "think the same of a %s's certificate, of every kind",
    async (side) => {
      const { native, streams } = await judges();
      const differ: Record<string, Verdicts> = {};
      let served = 0;
      for (const [kind, make] of Object.entries(KINDS)) {
        const peer = await make(authorities);
        const verdicts = { native: await native[side](peer), streams: await streams[side](peer) };
        if (verdicts.native === "served") served++;
        if (verdicts.native !== verdicts.streams) differ[kind] = verdicts;
      }
      const expected = Object.entries(DIFFERENCES).flatMap(([kind, { [side]: verdicts }]) =>
        verdicts === undefined ? [] : [[kind, verdicts] as const],
      );
      expect(differ).toEqual(Object.fromEntries(expected));
      expect(served).toBeGreaterThan(10);
      expect(served).toBeLessThan(Object.keys(KINDS).length - 20);
    },
    60_000,
  );

  test("think the same of chains that are made at random", async () => {
    const { native, streams } = await judges();
    const { clientAuth, serverAuth } = ExtendedKeyUsage;
    const { digitalSignature, keyCertSign } = KeyUsageFlags;
    const hours = integer({ min: -3, max: 3 }).map((hours) => hours * 3_600_000 + 60_000);
    const shape = record({
      key: constantFrom("P-256", "P-384"),
      fromMs: hours,
      untilMs: hours,
      isCa: constantFrom(true, false, null),
      usages: option(subarray([clientAuth, serverAuth], { minLength: 1 })),
      keyUsage: option(
        subarray([digitalSignature, keyCertSign], { minLength: 1 }).map((all) => all.reduce((a, b) => a | b)),
      ),
    });
    const chain = record({
      ca: option(shape),
      // A leaf that says it is a CA is one of the differences.
      leaf: shape.map((leaf) => ({ ...leaf, isCa: leaf.isCa === true ? false : leaf.isCa })),
      isByImpostor: boolean(),
      withIntermediate: boolean(),
      withoutCa: boolean(),
    });
    const made = asyncProperty(chain, constantFrom("client", "upstream"), async (of, side) => {
      const { meshCa, impostor, intermediate } = authorities;
      const top = of.isByImpostor ? impostor : meshCa;
      const ca = of.ca === null ? undefined : await authority(top, { ...of.ca, subject: "CN=below" });
      const leaf = await issue(ca ?? top, of.leaf);
      const rest = [...(ca === undefined || of.withoutCa ? [] : [ca]), ...(of.withIntermediate ? [intermediate] : [])];
      const certChain = pem(leaf.certificate, ...rest.map(({ certificate }) => certificate));
      const peer = { certChain, key: keyOf(leaf) };
      expect(await native[side](peer)).toBe(await streams[side](peer));
    });
    await assert(made, { numRuns: 150 });
  }, 120_000);
});
