import { sha256Hex } from "../bytes/sha256.ts";
import { settle } from "../crypto/node.ts";
import { LARGEST_ANNEX } from "../manifest/annex.ts";
import { LARGEST_FILE } from "../manifest/text.ts";
import type { Client } from "./client.ts";
import { VerifyError } from "./error.ts";

/** The kinds of documents that are had by their SHA-256, and how large one may be, in bytes. */
export const DOCUMENTS = { manifests: LARGEST_FILE, annexes: LARGEST_ANNEX, policies: LARGEST_FILE } as const;

export type DocumentKind = keyof typeof DOCUMENTS;

/** Where documents come from: the Coordinator, or a statement. */
export type ReadDocument = (kind: DocumentKind, digest: string) => Promise<Uint8Array>;

/** Of one kind. A history of more can't be read here. */
const MOST_DOCUMENTS = 4096;
const TOGETHER = 6;

/** Asks the Coordinator, each for one document. */
export function documentsOf(client: Client): ReadDocument {
  return (kind, digest) => client.getBytes(`/v1/${kind}/${digest}`, DOCUMENTS[kind]);
}

/**
 * @param digests hex; each is read once
 * @returns by digest, in the order of the digests: every document is the one of its digest
 * @throws VerifyError
 */
export async function readDocuments(
  kind: DocumentKind,
  digests: Iterable<string>,
  read: ReadDocument,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const all = new Set(digests);
  const waiting = [...all];
  if (waiting.length > MOST_DOCUMENTS) {
    throw new VerifyError("answer_too_large", "more documents than a verifier reads", {
      where: kind,
      got: String(waiting.length),
      want: `at most ${MOST_DOCUMENTS}`,
    });
  }
  const documents = new Map<string, Uint8Array>();
  const work = async (): Promise<void> => {
    for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
      documents.set(digest, await readDocument(kind, digest, read));
    }
  };
  try {
    await Promise.all(Array.from({ length: TOGETHER }, work));
  } finally {
    waiting.length = 0;
  }
  // They came in any order.
  return new Map(Array.from(all, (digest) => [digest, documents.get(digest) ?? new Uint8Array()]));
}

/** @throws VerifyError digest_mismatch */
export async function readDocument(kind: DocumentKind, digest: string, read: ReadDocument): Promise<Uint8Array> {
  const bytes = await read(kind, digest);
  const got = await settle(() => sha256Hex(bytes));
  if (got === digest) return bytes;
  throw new VerifyError("digest_mismatch", "a document is not the one that was asked for", {
    where: `${kind}/${digest}`,
    got: `SHA-256 ${got}`,
    want: digest,
    hint: "something between here and the Coordinator changes answers",
  });
}
