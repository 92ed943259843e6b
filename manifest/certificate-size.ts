import { longestClaimExtensions } from "../attestation/claims.ts";
import { leafExtensions } from "../pki/certificate.ts";
import type { Fault } from "../runtime/fault.ts";
import { grantExtensions } from "./grant-extensions.ts";
import { pathText } from "./json.ts";
import type { PolicyEntry } from "./manifest.ts";
import type { San } from "./san.ts";

/**
 * How long a workload's certificate chain gets. Proxies bound what a peer may send before it has proven anything, so a
 * longer chain would be a certificate that nobody accepts: a manifest that leads to one is refused when it is made and
 * when it is set, and not by every connection later.
 */

/** Of a chain, in a Certificate message of TLS 1.3: 9 KiB. */
export const LONGEST_CHAIN = 9 * 1024;

/**
 * The Certificate message (RFC 8446 §4.4.2): a header of 4 bytes, an empty context, a list with a length of 3 bytes; in it
 * each certificate with its length and no extensions.
 *
 * @param lengths of the certificates' DER
 */
export function certificateMessageSize(lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + 3 + length + 2, 4 + 1 + 3);
}

/**
 * No chain with these names is longer, whatever the evidence says: each claim is as long as it can be, and the key is one
 * of RSA with 4096 bits.
 */
export function longestChain(sans: readonly San[], workloadSecretId?: string): number {
  const extensions = grantExtensions({ policy: "f".repeat(64), workloadSecretId });
  const granted = sizeOf(leafExtensions({ names: sans, extensions }));
  return certificateMessageSize([LEAF_FRAME + granted + LONGEST_CLAIMS, INTERMEDIATE]);
}

/** What of a certificate's length the manifest says. */
type Named = Pick<PolicyEntry, "sans" | "workloadSecretId">;

/** The policies whose pods could get no certificate. */
export function longChains(policies: Iterable<readonly [hash: string, entry: Named]>): Fault[] {
  return [...policies].flatMap(([hash, { sans, workloadSecretId }]) => {
    const size = longestChain(sans, workloadSecretId);
    if (size <= LONGEST_CHAIN) return [];
    return [
      {
        where: pathText(["Policies", hash, "SANs"]),
        got: `names for a certificate chain of up to ${size} bytes`,
        want: `fewer or shorter names, or a shorter WorkloadSecretID: at most ${LONGEST_CHAIN} bytes with all claims`,
      },
    ];
  });
}

/**
 * What a leaf has beside its extensions of a variable length: subject and issuer of 64 letters, a key of 550 bytes, a
 * signature of ECDSA with P-256, and the lengths around all that.
 */
const LEAF_FRAME = 1024;

/** An intermediate CA has no part whose length anybody chooses. */
const INTERMEDIATE = 640;

const LONGEST_CLAIMS = Math.max(
  ...longestClaimExtensions().map(
    (extensions) => sizeOf(leafExtensions({ names: [], extensions })) - sizeOf(leafExtensions({ names: [] })),
  ),
);

function sizeOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}
