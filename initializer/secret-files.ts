import type { Template } from "../secret-files/template.ts";
import { SecretError } from "./secret-error.ts";
import type { GrantedSecret } from "./granted-secrets.ts";
import type { PublishedFile } from "./publish.ts";
import { renderTemplate } from "./render-template.ts";

/** The folder of the shared volume that has the secrets (docs/design.md §2). */
export const SECRETS = "secrets";

export interface SecretFiles {
  readonly files: readonly PublishedFile[];
  /** Why templates could not be filled, whose files stay as they were. */
  readonly stale: readonly SecretError[];
}

export interface SecretFilesOptions {
  /** By the names of their files. */
  readonly templates: ReadonlyMap<string, Template>;
  readonly mode: number;
  /** The file that a template became before; undefined: there is none. */
  readonly before: (file: string) => Uint8Array | undefined;
}

/**
 * Each secret under its name, and each version under name and version; and the files of templates. Where a template has the
 * name of a secret, the file is the template's: the policy has pinned it, and owners name secrets later.
 *
 * A template whose secret is gone keeps the file that it became before. The application has read it, and would not start
 * again without it; and certificates and other secrets must not wait for it. A file that never was is waited for.
 *
 * @throws SecretError secret_missing, secret_not_text, secret_file_too_large
 */
export function secretFiles(
  secrets: readonly GrantedSecret[],
  { templates, mode, before }: SecretFilesOptions,
): SecretFiles {
  const file = (name: string, content: Uint8Array): PublishedFile => ({ name: `${SECRETS}/${name}`, content, mode });
  const latest = new Map<string, Uint8Array>();
  const files = new Map<string, Uint8Array>();
  for (const { name, versions } of secrets) {
    for (const { version, value } of versions) files.set(`${name}@${version}`, value);
    const [first] = versions;
    if (first === undefined) continue;
    latest.set(name, first.value);
    files.set(name, first.value);
  }
  const stale: SecretError[] = [];
  for (const [name, template] of templates) {
    try {
      files.set(name, renderTemplate(name, template, latest));
    } catch (error) {
      const kept = error instanceof SecretError ? before(name) : undefined;
      if (!(error instanceof SecretError) || kept === undefined) throw error;
      files.set(name, kept);
      stale.push(error);
    }
  }
  return { files: [...files].map(([name, content]) => file(name, content)), stale };
}
