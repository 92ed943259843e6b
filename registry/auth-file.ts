import { readFile } from "node:fs/promises";
import { z } from "zod";
import { Secret } from "../runtime/secret.ts";
import type { Credentials } from "./credentials.ts";
import { ImageError } from "./problem.ts";

/**
 * The files in which `docker login` and `podman login` keep credentials: Docker's config.json and containers-auth.json(5).
 * No error quotes anything of them but names of registries.
 */
export interface AuthFile {
  readonly path: string;
  /** Names of credential helpers, by registry. */
  readonly helpers: ReadonlyMap<string, string>;
  /** The helper for all other registries. */
  readonly defaultHelper: string | undefined;
  /** By registry, or registry/namespace. */
  readonly entries: ReadonlyMap<string, Credentials>;
}

const FILE = z.object({
  auths: z
    .record(z.string(), z.object({ auth: z.string().optional(), identitytoken: z.string().optional() }))
    .optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});

/**
 * @returns undefined where there is no such file
 * @throws ImageError unusable_credentials
 */
export async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    // A home that is no folder has no such file either.
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unusable(path, `can't be read (${code})`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw unusable(path, "is not JSON");
  }
  const { success, data: file, error } = FILE.safeParse(json);
  if (!success) throw unusable(path, `is malformed at ${error.issues[0]?.path.join(".") || "its top"}`);
  const entries = new Map<string, Credentials>();
  for (const [key, { auth, identitytoken }] of Object.entries(file.auths ?? {})) {
    const credentials = read(auth ?? "", identitytoken ?? "");
    if (credentials === "malformed") throw unusable(path, `is malformed at auths.${key}.auth`);
    if (credentials !== undefined) entries.set(registryOf(key), credentials);
  }
  const helpers = Object.entries(file.credHelpers ?? {}).map(([key, name]) => [registryOf(key), name] as const);
  return { path, helpers: new Map(helpers), defaultHelper: file.credsStore || undefined, entries };
}

/** An empty entry says that a helper has the credentials. */
function read(auth: string, identityToken: string): Credentials | "malformed" | undefined {
  if (identityToken !== "") return { kind: "identity-token", token: new Secret(Buffer.from(identityToken)) };
  if (auth === "") return undefined;
  const pair = Buffer.from(auth, "base64");
  const colon = pair.indexOf(":");
  if (colon < 1) return "malformed";
  const username = pair.subarray(0, colon).toString();
  return { kind: "password", username, password: new Secret(pair.subarray(colon + 1)) };
}

/** Docker's names for its Hub, and the URLs that old versions wrote, are hosts like all others. */
function registryOf(key: string): string {
  const name = /^https?:\/\/([^/]*)/.exec(key)?.[1] ?? key;
  return /^(?:index|registry-1)\.docker\.io(?:\/v1\/?)?$/.test(name) ? "docker.io" : name;
}

function unusable(path: string, what: string): ImageError {
  return new ImageError(
    "unusable_credentials",
    `${path} ${what}`,
    "a file as docker login or podman login write it",
    "correct the file, or log in anew",
  );
}
