import {
  createPublicKey,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from "node:crypto";
import { signReport } from "../attestation/simulated/firmware.ts";
import { parseSnpReport } from "../attestation/snp/report.ts";
import { createTestVendor, reportOf } from "../attestation/snp/test-vendor.ts";
import { generateEcKey, spki } from "../pki/keys.ts";
import type { Subject } from "./rounds.ts";

/**
 * The operations of cryptography that one certificate takes, each by node:crypto alone: the verification of the report
 * and the signature of the leaf, and then what the server does in the handshake. The group that Node and OpenSSL 3.5
 * agree on is X25519MLKEM768.
 */
export async function bareOperations(): Promise<readonly Subject[]> {
  const vendor = await createTestVendor();
  const chip = { key: vendor.endorsement.publicKey, dsaEncoding: "ieee-p1363" } as const;
  const own = await generateEcKey("P-256");
  const peer = await generateEcKey("P-256");
  const x25519 = generateKeyPairSync("x25519");
  const kem = generateKeyPairSync("ml-kem-768");
  const kemKey = kem.publicKey.export({ type: "spki", format: "der" });
  const signsLeaf = (bytes: number) => () => {
    const message = randomBytes(bytes);
    return () => sign("sha256", message, own.privateKey).length > 0;
  };
  return [
    {
      name: "verify the report, ECDSA P-384",
      prepare: () => {
        const report = signReport(
          { ...reportOf("Milan", "vcek"), reportData: randomBytes(64) },
          vendor.endorsement.privateKey,
        );
        const { signed, signature } = parseSnpReport(report);
        return () => verify("sha384", signed, chip, signature);
      },
      times: 50,
    },
    { name: "sign the leaf, ECDSA P-256", prepare: signsLeaf(1000), times: 200 },
    { name: "sign CertificateVerify, ECDSA P-256", prepare: signsLeaf(146), times: 200 },
    {
      name: "verify CertificateVerify, ECDSA P-256",
      prepare: () => {
        const message = randomBytes(146);
        const signature = sign("sha256", message, peer.privateKey);
        // As in a handshake, the key was never seen before.
        const key = createPublicKey({ key: spki(peer.publicKey), type: "spki", format: "der" });
        return () => verify("sha256", message, key, signature);
      },
      times: 200,
    },
    {
      name: "agree on a key, X25519: generate and derive",
      prepare: () => () => {
        const { privateKey } = generateKeyPairSync("x25519");
        return diffieHellman({ privateKey, publicKey: x25519.publicKey }).length === 32;
      },
      times: 200,
    },
    {
      name: "agree on a key, ML-KEM-768: encapsulate",
      prepare: () => {
        const publicKey = createPublicKey({ key: kemKey, type: "spki", format: "der" });
        return () => {
          const { sharedKey, ciphertext } = encapsulate(publicKey);
          return ciphertext.length === 1088 && sharedKey.length === 32;
        };
      },
      times: 200,
    },
  ];
}
