import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { localCredentials } from "./local-credentials.ts";
import { type Content, digest, makeImage, makeIndex, RESOLVED_CONFIG } from "./test-image.ts";
import { password, problemOf, run, temporaryDirectory } from "./test-resolve.ts";

/** Against the registry that everybody runs, Debian's package docker-registry. */

const BINARY = "/usr/bin/docker-registry";
const HTPASSWD = "alice:$2b$04$xtEXnDaX2gQP/PSclNFNGeq0IV4//PL9Lh421L8eGl6qR2ajIpdou\n";
const PASSWORD = "open sesame";
const AUTHORIZATION = `Basic ${Buffer.from(`alice:${PASSWORD}`).toString("base64")}`;

if (!existsSync(BINARY)) test.skip(`images of docker-registry: there is no ${BINARY}`);

describe.runIf(existsSync(BINARY)).each([{ isGuarded: false }, { isGuarded: true }])(
  "a registry, %o",
  ({ isGuarded }) => {
    const image = makeImage();
    const index = makeIndex(
      { content: makeImage({ Cmd: ["arm"] }).manifest, platform: { os: "linux", architecture: "arm64" } },
      { content: image.manifest, platform: { os: "linux", architecture: "amd64" } },
    );
    let directory: string;
    let registry: ChildProcess;
    let host: string;

    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), "contrast-registry-"));
      writeFileSync(join(directory, "htpasswd"), HTPASSWD);
      const auth = isGuarded ? { auth: { htpasswd: { realm: "test", path: join(directory, "htpasswd") } } } : {};
      // YAML includes JSON.
      const config = {
        version: 0.1,
        storage: { filesystem: { rootdirectory: join(directory, "data") } },
        http: { addr: "127.0.0.1:0", secret: "of uploads" },
        ...auth,
      };
      writeFileSync(join(directory, "config.yml"), JSON.stringify(config));
      registry = spawn(BINARY, ["serve", join(directory, "config.yml")], { stdio: ["ignore", "ignore", "pipe"] });
      host = await listening(registry);
      const arm = makeImage({ Cmd: ["arm"] });
      await push(arm.config, "blobs");
      await push(image.config, "blobs");
      await push(arm.manifest, "manifests");
      await push(image.manifest, "manifests", "1");
      await push(index, "manifests", "multi");
    });

    afterAll(async () => {
      const exited = new Promise((resolve) => registry.once("exit", resolve));
      registry.kill();
      await exited;
      rmSync(directory, { recursive: true });
    });

    async function push(
      { mediaType, bytes, digest }: Content,
      kind: "blobs" | "manifests",
      tag = digest,
    ): Promise<void> {
      const headers = { authorization: AUTHORIZATION, "content-type": mediaType };
      let url = `http://${host}/v2/team/app/manifests/${tag}`;
      if (kind === "blobs") {
        const upload = await fetch(`http://${host}/v2/team/app/blobs/uploads/`, { method: "POST", headers });
        const location = new URL(upload.headers.get("location") ?? "");
        location.searchParams.set("digest", digest);
        url = location.href;
        headers["content-type"] = "application/octet-stream";
      }
      const { status } = await fetch(url, { method: "PUT", headers, body: bytes });
      expect(status).toBe(201);
    }

    test("images are found by tag, by index and by digest", async () => {
      const references = ["1", "multi"].map((tag) => `${host}/team/app:${tag}`);
      references.push(`${host}/team/app@${index.digest}`);
      const credentials = () => Promise.resolve(password("alice", PASSWORD));
      const { images, problems } = await run(references, { credentials });
      expect(problems).toEqual(new Map());
      const digests = [...images.values()].map(({ digest }) => digest);
      expect(digests).toEqual([image.manifest.digest, index.digest, index.digest]);
      for (const { config } of images.values()) expect(config).toEqual(RESOLVED_CONFIG);
    });

    test("what is not there is not found", async () => {
      const credentials = () => Promise.resolve(password("alice", PASSWORD));
      for (const name of ["team/app:2", "team/other:1", `team/app@${digest("another")}`]) {
        await expect(problemOf(`${host}/${name}`, { credentials })).resolves.toMatchObject({ kind: "not_found" });
      }
    });

    if (!isGuarded) return;

    test("credentials are those of docker login, and wrong ones are refused", async () => {
      const home = temporaryDirectory();
      const auth = AUTHORIZATION.slice("Basic ".length);
      writeFileSync(join(home, "config.json"), JSON.stringify({ auths: { [`${host}/team`]: { auth } } }));
      const credentials = localCredentials({ DOCKER_CONFIG: home }, home);
      await expect(run([`${host}/team/app:1`], { credentials })).resolves.toMatchObject({ problems: new Map() });
      for (const wrong of [password("alice", "wrong"), undefined]) {
        const problem = await problemOf(`${host}/team/app:1`, { credentials: () => Promise.resolve(wrong) });
        expect(problem.kind).toBe("denied");
      }
    });
  },
);

/** Where it listens, as its log says. */
async function listening(registry: ChildProcess): Promise<string> {
  if (registry.stderr === null) throw new Error("the registry has no log");
  const lines: string[] = [];
  for await (const line of createInterface(registry.stderr)) {
    lines.push(line);
    const address = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (address === undefined) continue;
    registry.stderr.resume();
    return address;
  }
  throw new Error(`the registry ended: ${lines.join("\n")}`);
}
