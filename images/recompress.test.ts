import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { expect, onTestFinished, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { blobPath, type Descriptor, readManifests } from "./oci-layout.ts";
import { recompress } from "./recompress.ts";

/** An image of one layer. @returns its layout */
async function imageWith(layer: Buffer): Promise<string> {
  const layout = await mkdtemp(join(tmpdir(), "contrast-layout-"));
  onTestFinished(async () => rm(layout, { recursive: true }));
  await mkdir(join(layout, "blobs", "sha256"), { recursive: true });
  const put = async (bytes: Buffer): Promise<Descriptor> => {
    const digest = `sha256:${sha256Hex(bytes)}`;
    await writeFile(blobPath(layout, digest), bytes);
    return { digest, size: bytes.length };
  };
  const json = async (content: object): Promise<Descriptor> => put(Buffer.from(JSON.stringify(content)));
  const manifest = await json({ layers: [await put(layer)] });
  const index = await json({ manifests: [{ ...manifest, platform: { architecture: "amd64" } }] });
  await writeFile(join(layout, "index.json"), JSON.stringify({ manifests: [index] }));
  return layout;
}

const CONTENT = Buffer.concat([randomBytes(200_000), Buffer.alloc(200_000)]);

test("a layer keeps what is in it, and nothing else of the old image stays", async () => {
  const layout = await imageWith(gzipSync(CONTENT, { level: 1 }));
  const [manifest] = await readManifests(layout, await recompress(layout, new Map(), {}));
  const [layer] = manifest?.layers ?? [];
  const bytes = await readFile(blobPath(layout, layer?.digest ?? ""));
  expect(bytes.length).toBe(layer?.size);
  expect(layer?.digest).toBe(`sha256:${sha256Hex(bytes)}`);
  expect(gunzipSync(bytes).equals(CONTENT)).toBe(true);
  expect(await readdir(join(layout, "blobs", "sha256"))).toHaveLength(3);
  expect((await readdir(layout)).toSorted()).toEqual(["blobs", "index.json"]);
});

test("a layer that can't be read to its end is an error, and no shorter layer", async () => {
  const layout = await imageWith(gzipSync(CONTENT).subarray(0, 150_000));
  await expect(recompress(layout, new Map(), {})).rejects.toMatchObject({ code: "build_failed" });
});
