import "reflect-metadata";
import { ExtendedKeyUsage, KeyUsageFlags } from "@peculiar/x509";
import { asyncProperty, assert, boolean, constantFrom, integer, option, record, subarray } from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { engineFile } from "../../mesh-proxy/native/addon.ts";
import { CHAINS } from "./verdicts/chains.ts";
import { CHANGED, changed, CHANGES } from "./verdicts/changes.ts";
import { authority, issue, keyOf, pem } from "./verdicts/authority.ts";
import { judge, type Judge } from "./verdicts/engines.ts";
import { names, OID, replaced, text } from "./verdicts/fields.ts";
import { type Authorities, createAuthorities, KINDS, meshOf } from "./verdicts/kinds.ts";

/**
 * Both engines think the same of a peer's certificate, and say the same. What differs is named here, one by one, and why in
 * docs/decisions/0035-tls-of-the-engine.md.
 */

const NO_ENGINE = engineFile() === undefined ? " (skipped: there is no engine; npm run build:engine)" : "";

type Verdicts = Readonly<{ native: string; streams: string }>;

/** Only the native engine refuses it. */
const untrusted = {
  client: { native: "client_certificate_untrusted", streams: "served" },
  upstream: { native: "upstream_untrusted", streams: "served" },
};
/** Who is asked for another kind of key has none to show. */
const unasked = {
  client: { native: "client_certificate_missing", streams: "served" },
  upstream: { native: "tls_handshake", streams: "served" },
};
/** Only OpenSSL refuses it. */
const trusted = {
  client: { native: "served", streams: "client_certificate_untrusted" },
  upstream: { native: "served", streams: "upstream_untrusted" },
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
  "with a key of brainpoolP256r1": unasked,
  // It is no certificate of X.509 version 3 in DER.
  "of version 1 without extensions": untrusted,
  "of version 1 with extensions": untrusted,
  "of version 2": untrusted,
  "of version 4": untrusted,
  "with a length that is longer than it need be": untrusted,
  "with a length of its extensions that is longer than it need be": untrusted,
  "with extensions whose end is marked": untrusted,
  "with names, and something behind them": untrusted,
  "with unique ids of old": untrusted,
  "with parameters of its algorithm that are null": untrusted,
  "since the year 1": untrusted,
  // Critical, and webpki does not know it.
  "with policies that everybody has to know": untrusted,
  "that requires a policy": untrusted,
  "that takes no policy for any": untrusted,
  "below a CA that requires a policy": untrusted,
  // webpki compares names byte by byte. RFC 5280 §7.1 would have capitals and spaces folded.
  "whose issuer is written in other letters": untrusted,
  "whose issuer has a space too many": untrusted,
  // It is left out of the names, and so it is nobody's.
  "with a name of a kind that there is not": trusted,
  // The signature says who the issuer is. What the certificate says of it is a hint (RFC 5280 §4.2.1.1).
  "of an authority of another number, as it says": trusted,
};

const ALL = { ...KINDS, ...CHANGED, ...CHAINS };

let authorities: Authorities;
beforeAll(async () => void (authorities = await createAuthorities()));

async function judges(name?: string): Promise<Record<"native" | "streams", Judge>> {
  const { mesh, own } = meshOf(authorities);
  return { native: await judge("native", mesh, own, name), streams: await judge("streams", mesh, own, name) };
}

describe.skipIf(NO_ENGINE !== "")(`both engines${NO_ENGINE}`, () => {
  test.each(["client", "upstream"] as const)(
    "think the same of a %s's certificate, of every kind",
    async (side) => {
      const { native, streams } = await judges();
      const differ: Record<string, Verdicts> = {};
      let served = 0;
      for (const [kind, make] of Object.entries(ALL)) {
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
      expect(served).toBeLessThan(Object.keys(ALL).length - 60);
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

  test("think the same of certificates with several things changed", async () => {
    const { native, streams } = await judges();
    const kinds = Object.keys(CHANGES).filter((kind) => DIFFERENCES[kind] === undefined);
    const some = subarray(kinds, { minLength: 2, maxLength: 4 });
    const made = asyncProperty(some, constantFrom("client", "upstream"), async (kinds, side) => {
      const peer = await changed((fields) => {
        for (const kind of kinds) CHANGES[kind]?.(fields);
      })(authorities);
      expect(await native[side](peer)).toBe(await streams[side](peer));
    });
    await assert(made, { numRuns: 150 });
  }, 120_000);

  const DNS = ["web", "WEB", "web.", " web", "web ", "web\0", "web\n", "web\0.test", "*", "*.test", "we*", ""];
  const QUOTED = [
    '"web"',
    "DNS:web",
    "x, DNS:web",
    "x, IP Address:203.0.113.7",
    "x, URI:spiffe://mesh/web",
    "x\\, DNS:web",
  ];
  const URIS = ["spiffe://mesh/web", "SPIFFE://mesh/web", "spiffe://mesh/web\0", "spiffe://mesh/web, DNS:web", "web"];
  const ADDRESSES = ["\xcb\0\x71\x07", "\xcb\0\x71\x07\0", `${"\0".repeat(10)}\xff\xff\xcb\0\x71\x07`, "203.0.113.7"];
  const V6 = "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07";
  const SANS = [
    ...[...DNS, ...QUOTED, "203.0.113.7", "spiffe://mesh/web"].map((value) => text(0x82, value)),
    ...URIS.map((value) => text(0x86, value)),
    ...[...ADDRESSES, V6].map((value) => text(0x87, value)),
    text(0x81, "web"),
    text(0x88, "web"),
  ];

  test.each(["web", "203.0.113.7", "2001:db8::7", "spiffe://mesh/web"])(
    "think the same of who carries the name %s",
    async (name) => {
      const { native, streams } = await judges(name);
      const seen = new Set<string>();
      const made = asyncProperty(
        subarray(SANS, { maxLength: 4 }),
        constantFrom("client", "upstream"),
        async (sans, side) => {
          const peer = await changed((fields) => replaced(fields, OID.names, names(...sans)))(authorities);
          const verdict = await native[side](peer);
          expect(verdict).toBe(await streams[side](peer));
          seen.add(verdict);
        },
      );
      const examples = SANS.flatMap((san): [Uint8Array[], "client" | "upstream"][] => [
        [[san], "client"],
        [[san], "upstream"],
      ]);
      await assert(made, { numRuns: 120, examples });
      expect([...seen].toSorted()).toEqual(["client_identity", "served", "upstream_identity"]);
    },
    60_000,
  );
});
