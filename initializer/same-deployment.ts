import { type KeyObject, X509Certificate } from "node:crypto";
import { generationOf, type MeshGeneration } from "../manifest/generation-extensions.ts";
import { CodedError } from "../runtime/errors.ts";

/**
 * Whether what a running pod is given comes from the Coordinator that it has its first certificate from. That one proved
 * nothing, and need not: a pod that starts in a made-up mesh has no secrets of the real one. A pod that runs has. Whoever
 * stands in for the Coordinator then, as the host can, could move it into a mesh of his own, and be its client.
 *
 * - `another_deployment`: the chain does not lead to the root CA of before, or is not for the key of this pod
 * - `older_generation`: the mesh CA was made for an earlier manifest than the one before. Who stole an old mesh CA's key
 *   has the intermediate CA for it, too, which the root signed.
 */
export class RenewalError extends CodedError<"another_deployment" | "older_generation"> {}

/** PEM. */
export interface Given {
  /** The leaf, then the intermediate CA. */
  readonly certChain: string;
  readonly meshCa: string;
}

/**
 * @param key of the pod, made for this renewal: what was issued before is about another one
 * @param root the root CA of before, PEM
 * @param before the intermediate CA's generation of before
 * @returns that of now
 * @throws RenewalError
 */
export function requireSameDeployment(
  { certChain, meshCa }: Given,
  key: KeyObject,
  root: string,
  before: MeshGeneration | undefined,
): MeshGeneration | undefined {
  const [leaf, intermediate] = certificatesOf(certChain);
  const mesh = new X509Certificate(meshCa);
  const isOurs =
    leaf?.publicKey.equals(key) === true &&
    intermediate !== undefined &&
    leaf.verify(mesh.publicKey) &&
    intermediate.publicKey.equals(mesh.publicKey) &&
    intermediate.verify(new X509Certificate(root).publicKey);
  if (!isOurs) {
    throw new RenewalError("another_deployment", "the certificate is not from the Coordinator of this deployment", {
      where: "the answer to a renewal",
      want: "a chain for the key of this pod, to the root CA that it started with",
      hint: "after a new root CA restart the pod; else find out who answers in place of the Coordinator",
    });
  }
  const generation = generationOf(intermediate.raw);
  if (before !== undefined && (generation?.number ?? 0) < before.number) {
    throw new RenewalError("older_generation", "the certificate is of an earlier generation of the mesh", {
      where: "the answer to a renewal",
      got: `manifest ${generation?.number ?? "?"} of the history`,
      want: `manifest ${before.number} or a later one`,
      hint: "a Coordinator with an older copy of the state answers, or somebody with its mesh CA's key",
    });
  }
  return generation;
}

/** Of the intermediate CA of a chain. */
export function generationOfChain(certChain: string): MeshGeneration | undefined {
  const [, intermediate] = certificatesOf(certChain);
  return intermediate && generationOf(intermediate.raw);
}

function certificatesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}
