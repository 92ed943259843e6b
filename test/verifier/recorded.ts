import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Recorded } from "./judge.ts";

/** Recorded evidence, which lies beside the checkout, as JSON. */
const VECTORS = join(import.meta.dirname, "../../../shared/vectors");

export const hasRecorded = existsSync(join(VECTORS, "index.json"));

interface Vector {
  readonly id: string;
  readonly kind: string;
  readonly files: Readonly<Record<string, { readonly file: string }>>;
  readonly time: string;
  readonly chain: string;
  readonly root: string;
}

export function recorded(): readonly Recorded[] {
  if (!hasRecorded) return [];
  const { vectors } = JSON.parse(read("index.json").toString()) as { readonly vectors: readonly Vector[] };
  return vectors.flatMap((vector) => {
    if (vector.kind === "snp-report") return [snp(vector)];
    return vector.kind === "tdx-quote" ? [tdx(vector)] : [];
  });
}

function snp({ id, time: at, files, chain }: Vector): Recorded {
  const issuers = (
    read(chain)
      .toString()
      .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  ).map((pem) => new X509Certificate(pem));
  const certificates = [base64(files["vcek"]), ...issuers.map(({ raw }) => raw.toString("base64"))];
  const crl = files["crl"] && base64(files["crl"]);
  return {
    kind: "snp",
    id,
    at,
    root: rootOf(chain, issuers.at(-1)?.publicKey.export({ format: "pem", type: "spki" }).toString() ?? ""),
    report: base64(files["report"]),
    certificates,
    ...(crl === undefined ? {} : { crl }),
  };
}

function tdx({ id, time: at, files, root }: Vector): Recorded {
  const collateral = {
    tcbInfo: base64(files["tcb_info"]),
    qeIdentity: base64(files["qe_identity"]),
    signingChain: base64(files["tcb_signing_chain"]),
    pckCrl: base64(files["pck_crl"]),
    rootCrl: base64(files["root_ca_crl"]),
  };
  return { kind: "tdx", id, at, root: rootOf(root, read(root).toString()), quote: base64(files["quote"]), collateral };
}

/** @returns undefined: it is the vendor's own */
function rootOf(file: string, pem: string): string | undefined {
  if (!file.startsWith("roots/synthetic/")) return undefined;
  const spki = createPublicKey(pem).export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest("hex");
}

function base64(entry: { readonly file: string } | undefined): string {
  return read(entry?.file ?? "").toString("base64");
}

function read(file: string): Buffer {
  return readFileSync(join(VECTORS, file));
}
