import { execFile } from "node:child_process";
import { z } from "zod";
import type { Environment } from "../runtime/environment.ts";
import { Secret } from "../runtime/secret.ts";
import type { Credentials } from "./credentials.ts";
import { ImageError } from "./problem.ts";

/**
 * Programs that keep credentials for docker and podman: `docker-credential-<name> get` reads the server from its
 * standard input and writes JSON (github.com/docker/docker-credential-helpers). What it writes is never quoted.
 */

const ANSWER = z.object({ Username: z.string(), Secret: z.string() });
/** What helpers write for a server that they don't know, in place of an answer. */
const NOT_FOUND = "credentials not found in native keychain";
/** It may have to ask its user. */
const DEADLINE_MS = 60_000;
const MAX_ANSWER = 1024 * 1024;

/**
 * @param registry as in ImageReference
 * @param environment of the helper; its PATH is where it is looked for
 * @returns undefined where the helper has none
 * @throws ImageError unusable_credentials
 */
export async function askHelper(
  name: string,
  registry: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  // It is put behind docker-credential- and must stay a file name: no path leads elsewhere from there.
  if (!/^[\w.-]+$/.test(name)) throw unusable(name, "is no name of a program");
  const program = `docker-credential-${name}`;
  const server = registry === "docker.io" ? "https://index.docker.io/v1/" : registry;
  const { failure, output } = await run(program, server, environment);
  if (output.trim() === NOT_FOUND) return undefined;
  if (failure !== undefined) throw unusable(program, `fails (${failure})`);
  let json: unknown;
  try {
    json = JSON.parse(output);
  } catch {
    throw unusable(program, "writes no JSON");
  }
  const { success, data } = ANSWER.safeParse(json);
  if (!success) throw unusable(program, "writes no Username and Secret");
  if (data.Secret === "") return undefined;
  const secret = new Secret(Buffer.from(data.Secret));
  return data.Username === "<token>"
    ? { kind: "identity-token", token: secret }
    : { kind: "password", username: data.Username, password: secret };
}

function run(
  program: string,
  input: string,
  environment: Environment,
): Promise<{ readonly failure: string | undefined; readonly output: string }> {
  return new Promise((resolve) => {
    const options = { env: { ...environment }, timeout: DEADLINE_MS, maxBuffer: MAX_ANSWER };
    const child = execFile(program, ["get"], options, (error, output) => {
      const failure = error === null ? undefined : String(error.code ?? error.signal);
      resolve({ failure, output });
    });
    // One that does not read its input tells more by its exit code.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

function unusable(program: string, what: string): ImageError {
  return new ImageError(
    "unusable_credentials",
    `the credential helper ${program} ${what}`,
    "a helper that works",
    "run it by hand, or correct credHelpers and credsStore where docker or podman keep credentials",
  );
}
