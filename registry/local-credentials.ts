import { join } from "node:path";
import type { Environment } from "../runtime/environment.ts";
import { type AuthFile, readAuthFile } from "./auth-file.ts";
import { askHelper } from "./credential-helper.ts";
import type { Credentials, CredentialSource } from "./credentials.ts";

/**
 * The credentials that docker and podman have, found as podman does (containers-auth.json(5)): the first file that has
 * some for the image; in it the longest name that the image's begins with.
 */
export function localCredentials(environment: Environment, home: string): CredentialSource {
  const files = new Map<string, Promise<AuthFile | undefined>>();
  const helpers = new Map<string, Promise<Credentials | undefined>>();

  const ask = (name: string, registry: string): Promise<Credentials | undefined> => {
    const key = JSON.stringify([name, registry]);
    // Once for all images: it may have to ask its user.
    const answer = helpers.get(key) ?? askHelper(name, registry, environment);
    helpers.set(key, answer);
    return answer;
  };

  return async (registry, repository) => {
    for (const path of authFiles(environment, home)) {
      const reading = files.get(path) ?? readAuthFile(path);
      files.set(path, reading);
      const file = await reading;
      if (file === undefined) continue;
      const helper = file.helpers.get(registry) ?? file.defaultHelper;
      const found = helper === undefined ? undefined : await ask(helper, registry);
      const credentials = found ?? longestMatch(file.entries, `${registry}/${repository}`);
      if (credentials !== undefined) return credentials;
    }
    return undefined;
  };
}

/** In the order in which they are looked at. $REGISTRY_AUTH_FILE stands for all of them. */
export function authFiles(environment: Environment, home: string): readonly string[] {
  const set = (name: string): string | undefined => environment[name] || undefined;
  const only = set("REGISTRY_AUTH_FILE");
  if (only !== undefined) return [only];
  const runtime = set("XDG_RUNTIME_DIR");
  return [
    ...(runtime === undefined ? [] : [join(runtime, "containers/auth.json")]),
    join(set("XDG_CONFIG_HOME") ?? join(home, ".config"), "containers/auth.json"),
    join(set("DOCKER_CONFIG") ?? join(home, ".docker"), "config.json"),
  ];
}

/** `registry/a/b`, then `registry/a`, then `registry`. */
function longestMatch(entries: AuthFile["entries"], name: string): Credentials | undefined {
  for (let end = name.length; end > 0; end = name.lastIndexOf("/", end - 1)) {
    const credentials = entries.get(name.slice(0, end));
    if (credentials !== undefined) return credentials;
  }
  return undefined;
}
