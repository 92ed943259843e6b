import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { ImageCache } from "./cache.ts";
import type { CredentialSource } from "./credentials.ts";
import { ImageSource } from "./image-source.ts";
import { ImageError, type ImageProblem } from "./problem.ts";
import { parseReference } from "./reference.ts";
import type { ResolvedImage, ResolvedImages } from "./resolved-image.ts";
import { type Network, Transport } from "./transport.ts";

/** Tells what images are, from their registries or from the cache. */

export interface ResolveOptions {
  readonly cacheDirectory: string;
  /** Ask nobody: the cache alone. */
  readonly offline: boolean;
  readonly network: Network;
  readonly credentials: CredentialSource;
  /** Called after each distinct reference, known now or not. */
  readonly onProgress?: (done: number, total: number, reference: string) => void;
  /** Called for what went wrong and changes nothing in the result. */
  readonly onWarning: (message: string) => void;
  readonly signal?: AbortSignal;
}

export interface Resolution {
  readonly images: ResolvedImages;
  /** By the reference as it stands in the resource: every one that is not in `images`. */
  readonly problems: ReadonlyMap<string, ImageProblem>;
}

/** Requests at once; a registry that is slow leaves room for the others. */
const IN_FLIGHT = { total: 8, perPeer: 6, waiting: { total: Infinity, perPeer: Infinity } };

/** @throws the signal's reason */
export async function resolveImages(references: readonly string[], options: ResolveOptions): Promise<Resolution> {
  const { network, offline, credentials, onProgress, signal } = options;
  const distinct = [...new Set(references)];
  const transport = new Transport(network, signal);
  const cache = new ImageCache(options.cacheDirectory, options.onWarning);
  const source = new ImageSource(cache, offline ? undefined : { transport, credentials });
  const gate = new KeyedSemaphore(IN_FLIGHT);
  const images = new Map<string, ResolvedImage>();
  const problems = new Map<string, ImageProblem>();
  let done = 0;

  const resolve = async (text: string): Promise<ResolvedImage | ImageProblem> => {
    try {
      const reference = parseReference(text);
      return await inTurn(gate, reference.registry, () => source.resolve(reference));
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ImageError) return error.problem;
      throw error;
    } finally {
      onProgress?.(++done, distinct.length, text);
    }
  };
  try {
    const outcomes = await Promise.all(distinct.map(resolve));
    for (const [index, text] of distinct.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) continue;
      if ("kind" in outcome) problems.set(text, outcome);
      else images.set(text, outcome);
    }
  } finally {
    transport.close();
  }
  return { images, problems };
}

async function inTurn<T>(gate: KeyedSemaphore, peer: string, work: () => Promise<T>): Promise<T> {
  const { promise: entered, resolve: onEntered } = Promise.withResolvers<void>();
  const leave = gate.enter(peer, onEntered);
  await entered;
  try {
    return await work();
  } finally {
    leave?.();
  }
}
