import type { Claims } from "../attestation/claims.ts";
import { TAG } from "../pki/der.ts";
import { encodeDer } from "../pki/der-writer.ts";

/**
 * The verified claims as extensions of the workload's certificate, one UTF8String each (X.690 §8.23), so that
 * `openssl x509 -text` shows them and a peer can decide by them. The arcs are those under which Contrast's certificates
 * carry claims, one for each kind of TEE; the numbers are the places in the list, so entries are only ever added at its
 * end.
 */
const ARCS = { snp: "1.3.9901.2.1", tdx: "1.3.9901.2.2" } as const;

type Names<Tee extends Claims["tee"]> = readonly (keyof Extract<Claims, { tee: Tee }>)[];
const NAMES = {
  snp: ["tee", "product", "measurement", "hostData", "chipId", "reportedTcb", "vmpl", "debug", "insecure"],
  tdx: [
    "tee",
    "mrTd",
    "mrSeam",
    "mrConfigId",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "xfam",
    "fmspc",
    "ppid",
    "teeTcbSvn",
    "tcbStatus",
    "advisories",
    "debug",
    "insecure",
  ],
} as const satisfies { readonly [Tee in Claims["tee"]]: Names<Tee> };

/** @returns object identifier to DER */
export function claimExtensions(claims: Claims): Map<string, Buffer> {
  const values: Readonly<Record<string, string | number | boolean>> = { ...claims };
  return new Map(
    NAMES[claims.tee].map((name, index) => [
      `${ARCS[claims.tee]}.${index + 1}`,
      encodeDer(TAG.utf8String, Buffer.from(`${values[name]}`)),
    ]),
  );
}
