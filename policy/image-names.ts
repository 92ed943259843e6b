import { fullName, parseReference } from "../registry/reference.ts";
import { ImageError } from "../registry/problem.ts";

/**
 * The names under which the agent may be asked for an image: as the resource has it, as containerd writes it in full,
 * and in full with the tag. All carry the digest. None for an image without one: what it leads to, the registry says.
 */
export function imageNames(reference: string): string[] {
  try {
    const { digest, ...named } = parseReference(reference);
    if (digest === undefined) return [];
    const [, tag] = /:([\w.-]+)@/.exec(reference) ?? [];
    const names = [reference, fullName({ ...named, digest })];
    if (tag !== undefined) names.push(`${fullName({ ...named, tag, digest: undefined })}@${digest}`);
    return [...new Set(names)];
  } catch (error) {
    if (error instanceof ImageError) return [];
    throw error;
  }
}
