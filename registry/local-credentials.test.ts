import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import type { Environment } from "../runtime/environment.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";
import { authFiles, localCredentials } from "./local-credentials.ts";
import { temporaryDirectory } from "./test-resolve.ts";

const PASSWORD = "correct:horse";
const AUTH = Buffer.from(`alice:${PASSWORD}`).toString("base64");

interface TestHome {
  readonly home: string;
  readonly write: (path: string, document: unknown) => void;
  readonly source: (environment?: Environment) => CredentialSource;
}

function makeHome(): TestHome {
  const home = temporaryDirectory();
  const write = (path: string, document: unknown): void => {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), typeof document === "string" ? document : JSON.stringify(document));
  };
  const path = `${join(home, "bin")}:/usr/bin:/bin`;
  return { home, write, source: (environment = {}) => localCredentials({ PATH: path, ...environment }, home) };
}

/** A helper that answers with this script; it keeps what it was given and asked in `bin/asked`. */
function writeHelper({ home, write }: TestHome, name: string, script: string): void {
  write(
    `bin/docker-credential-${name}`,
    `#!/bin/sh\nread server\necho "$1 $server" >>"${home}/bin/asked"\n${script}\n`,
  );
  chmodSync(join(home, "bin", `docker-credential-${name}`), 0o755);
}

function shown(credentials: Credentials | undefined): string | undefined {
  if (credentials === undefined) return undefined;
  if (credentials.kind === "identity-token") return `token ${credentials.token.reveal().toString()}`;
  return `${credentials.username} ${credentials.password.reveal().toString()}`;
}

function auth(username: string): { readonly auth: string } {
  return { auth: Buffer.from(`${username}:secret`).toString("base64") };
}

test("credentials of docker login are found", async () => {
  const home = makeHome();
  home.write(".docker/config.json", {
    auths: { "registry.example.com:5000": { auth: AUTH, email: "x" }, "empty.example.com": {} },
    HttpHeaders: {},
  });
  const source = home.source();
  expect(shown(await source("registry.example.com:5000", "app"))).toBe(`alice ${PASSWORD}`);
  expect(await source("registry.example.com", "app")).toBeUndefined();
  expect(await source("empty.example.com", "app")).toBeUndefined();
});

test("without any files there are no credentials", async () => {
  expect(await makeHome().source()("docker.io", "library/nginx")).toBeUndefined();
});

test.each([
  "https://index.docker.io/v1/",
  "index.docker.io/v1/",
  "index.docker.io",
  "registry-1.docker.io",
  "docker.io",
])("%s is Docker Hub", async (key) => {
  const home = makeHome();
  home.write(".docker/config.json", { auths: { [key]: { auth: AUTH } } });
  expect(shown(await home.source()("docker.io", "library/nginx"))).toBe(`alice ${PASSWORD}`);
});

test("a key may be a URL, of which the host counts", async () => {
  const home = makeHome();
  home.write(".docker/config.json", { auths: { "https://registry.example.com/v2/": { auth: AUTH } } });
  expect(shown(await home.source()("registry.example.com", "app"))).toBe(`alice ${PASSWORD}`);
});

test("the longest name wins, at whole parts only", async () => {
  const home = makeHome();
  home.write(".config/containers/auth.json", {
    auths: { "r.io": auth("all"), "r.io/team": auth("team"), "r.io/team/app": auth("app"), "r.io/te": auth("no") },
  });
  const source = home.source();
  const users = await Promise.all(
    ["team/app", "team/app/debug", "team/other", "teamwork", "app"].map((repository) => source("r.io", repository)),
  );
  expect(users.map((user) => shown(user)?.split(" ")[0])).toEqual(["app", "app", "team", "all", "all"]);
});

test("an identity token is what counts of its entry", async () => {
  const home = makeHome();
  home.write(".docker/config.json", { auths: { "r.io": { auth: AUTH, identitytoken: "refresh" } } });
  expect(shown(await home.source()("r.io", "app"))).toBe("token refresh");
});

test("the files are looked at in podman's order, and one that is named stands for all", () => {
  expect(
    authFiles({ XDG_RUNTIME_DIR: "/run/user/1", XDG_CONFIG_HOME: "/cfg", DOCKER_CONFIG: "/dk" }, "/home/a"),
  ).toEqual(["/run/user/1/containers/auth.json", "/cfg/containers/auth.json", "/dk/config.json"]);
  expect(authFiles({ REGISTRY_AUTH_FILE: "/auth.json", XDG_RUNTIME_DIR: "/run/user/1" }, "/home/a")).toEqual([
    "/auth.json",
  ]);
  expect(authFiles({}, "/home/a")).toEqual(["/home/a/.config/containers/auth.json", "/home/a/.docker/config.json"]);
});

test("a file that has nothing for the image leaves it to the next", async () => {
  const home = makeHome();
  home.write(".config/containers/auth.json", { auths: { "other.io": auth("other") } });
  home.write(".docker/config.json", { auths: { "r.io": auth("docker") } });
  expect(shown(await home.source()("r.io", "app"))).toBe("docker secret");
});

test("a helper is asked by its name, once for all images of a registry", async () => {
  const home = makeHome();
  home.write(".docker/config.json", { credHelpers: { "r.io": "ecr" }, credsStore: "store" });
  writeHelper(home, "ecr", `echo '{"ServerURL":"r.io","Username":"AWS","Secret":"s3cret"}'`);
  writeHelper(home, "store", `echo '{"Username":"<token>","Secret":"refresh"}'`);
  const source = home.source();
  const found = await Promise.all([source("r.io", "a"), source("r.io", "b"), source("docker.io", "library/nginx")]);
  expect(found.map(shown)).toEqual(["AWS s3cret", "AWS s3cret", "token refresh"]);
  const asked = readFileSync(join(home.home, "bin/asked"), "utf8").trimEnd().split("\n").sort();
  expect(asked).toEqual(["get https://index.docker.io/v1/", "get r.io"]);
});

test("what a helper does not have may be in the file", async () => {
  const home = makeHome();
  home.write(".docker/config.json", { auths: { "r.io": auth("file") }, credsStore: "store" });
  writeHelper(home, "store", `echo "credentials not found in native keychain"; exit 1`);
  const source = home.source();
  expect(shown(await source("r.io", "app"))).toBe("file secret");
  expect(await source("other.io", "app")).toBeUndefined();
});

test.each([
  ["fails", `echo "s3cret $HOME"; echo s3cret >&2; exit 3`, "fails (3)"],
  ["is killed", "kill -9 $$", "fails (SIGKILL)"],
  ["writes no JSON", "echo s3cret", "writes no JSON"],
  ["writes something else", `echo '{"Secret":"s3cret"}'`, "writes no Username and Secret"],
  ["writes without an end", "yes s3cret", "fails (ERR_CHILD_PROCESS_STDIO_MAXBUFFER)"],
])("a helper that %s is an error without its words", async (_, script, got) => {
  const home = makeHome();
  home.write(".docker/config.json", { credsStore: "store" });
  writeHelper(home, "store", script);
  const problem = await home
    .source()("r.io", "app")
    .catch((error: unknown) => error);
  expect(problem).toMatchObject({
    code: "unusable_credentials",
    got: `the credential helper docker-credential-store ${got}`,
  });
  expect(inspect(problem, { depth: 9 })).not.toContain("s3cret");
});

test("a helper that is missing is an error", async () => {
  const home = makeHome();
  home.write(".docker/config.json", { credsStore: "desktop" });
  await expect(home.source()("r.io", "app")).rejects.toMatchObject({
    got: "the credential helper docker-credential-desktop fails (ENOENT)",
  });
});

test("a helper that leads to another folder is not run", async () => {
  const home = makeHome();
  home.write(".docker/config.json", { credsStore: "x/../../bin/evil" });
  writeHelper(home, "x", "true");
  await expect(home.source()("r.io", "app")).rejects.toMatchObject({ code: "unusable_credentials" });
  expect(existsSync(join(home.home, "bin/asked"))).toBe(false);
});

test.each<[string, unknown, string]>([
  ["no JSON", `{"auths": {"r.io": {"auth": "${AUTH}"`, "is not JSON"],
  ["a list", [], "is malformed at its top"],
  ["auths that are a list", { auths: [AUTH] }, "is malformed at auths"],
  ["an auth that is a number", { auths: { "r.io": { auth: 5 } } }, "is malformed at auths.r.io.auth"],
  [
    "an auth without a colon",
    { auths: { "r.io": { auth: Buffer.from(PASSWORD.slice(8)).toString("base64") } } },
    "is malformed at auths.r.io.auth",
  ],
  ["helpers that are a list", { credHelpers: ["x"] }, "is malformed at credHelpers"],
])("a file with %s is named, and not quoted", async (_, document, got) => {
  const home = makeHome();
  home.write(".docker/config.json", document);
  const problem = await home
    .source()("r.io", "app")
    .catch((error: unknown) => error);
  expect(problem).toMatchObject({ code: "unusable_credentials", got: `${home.home}/.docker/config.json ${got}` });
  for (const secret of [AUTH, PASSWORD, "horse"]) expect(inspect(problem, { depth: 9 })).not.toContain(secret);
});

test("a file that can't be read is named", async () => {
  const home = makeHome();
  mkdirSync(join(home.home, ".docker/config.json"), { recursive: true });
  await expect(home.source()("r.io", "app")).rejects.toMatchObject({
    got: `${home.home}/.docker/config.json can't be read (EISDIR)`,
  });
});
