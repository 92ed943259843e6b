import { sign } from "node:crypto";
import { type Change, changeToSign } from "../../manifest/change.ts";
import type { KeyPair } from "../../pki/keys.ts";
import { CliError } from "../context.ts";

/**
 * A workload owner's signature over a change: ECDSA with SHA-256, DER, as `openssl dgst -sha256 -sign` and most key
 * stores make it.
 *
 * @param where the key comes from
 * @throws CliError malformed_file
 */
export function signChange(keys: KeyPair, where: string, change: Change): Buffer {
  if (keys.privateKey.asymmetricKeyType !== "ec") {
    throw new CliError("malformed_file", "the signature needs a workload owner's private key", {
      where,
      got: `a key of type ${keys.privateKey.asymmetricKeyType ?? "?"}`,
      want: "an EC key, PEM",
      hint: "name it with --workload-owner-key; `contrast sign --prepare` is for a key that is in no file",
    });
  }
  return sign("sha256", changeToSign(change), { key: keys.privateKey, dsaEncoding: "der" });
}
