import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import type { BuiltImage } from "../images/build.ts";
import { blobPath, readManifests } from "../images/oci-layout.ts";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { cpuSeconds, memoryMb, start } from "./mesh/processes.ts";
import { median } from "./rounds.ts";

/**
 * What the images weigh, and what their programs take to start: the Initializer until it dials the Coordinator, the mesh
 * proxy until it accepts. The programs are run out of their images, with the Node that is in there.
 *
 * Usage: npm run bench:images [-- FOLDER], a folder that `npm run images` made; without one they are built.
 */

const ROUNDS = 9;
const root = join(import.meta.dirname, "..");
const arch = process.arch === "x64" ? "amd64" : process.arch;
const scratch = await mkdtemp(join(tmpdir(), "contrast-bench-images-"));
const tee = join(scratch, "tee");
await (await openOrCreateVendor(join(scratch, "vendor"), new Date())).launch(tee, { hostData: Buffer.alloc(32) });
const mesh = await createMesh();
const tlsConfig = await writeTlsConfig(mesh, await mesh.issue());

try {
  const folder = process.argv[2] ?? join(scratch, "images");
  if (process.argv[2] === undefined) {
    execFileSync("npm", ["run", "images", "--", "--arch", arch, "--out", folder], { cwd: root, stdio: "inherit" });
  }
  const built = JSON.parse(await readFile(join(folder, "images.json"), "utf8")) as BuiltImage[];
  const find = (name: string): BuiltImage => {
    const image = built.find(({ reference }) => reference.startsWith(`contrast/${name}:`));
    if (image === undefined) throw new Error(`${folder} has no image ${name}`);
    return image;
  };
  const initializer = await unpack(folder, find("initializer"));
  const meshProxy = await unpack(folder, find("mesh-proxy"));
  const dialing = await repeat(() => untilItDials(initializer));
  const accepting = await repeat(() => untilItAccepts(meshProxy));

  const text = `# The images

Written by \`npm run bench:images\`: ${ROUNDS} rounds, medians; ${arch}, with the Node of the images. Processor time is
that of all threads.

| | | bar |
|---|---|---|
${built.map(({ reference, compressed }) => row(`${reference}, as a registry has it: MB`, (compressed[arch] ?? 0) / 1e6, "≤ 50")).join("\n")}
${row("Initializer, from its start until it dials: CPU ms", median(dialing), "≤ 150")}
${row("mesh proxy, when it accepts: resident MB", median(accepting.map(([resident]) => resident)), "≤ 60")}
${row("mesh proxy, from its start until it accepts: CPU ms", median(accepting.map(([, cpu]) => cpu)), "")}
`;
  await writeFile(join(import.meta.dirname, "results", "images.md"), text);
  process.stdout.write(text);
} finally {
  await rm(scratch, { recursive: true, force: true });
  await rm(tlsConfig, { recursive: true, force: true });
}

function row(what: string, value: number, bar: string): string {
  return `| ${what} | ${value.toFixed(1)} | ${bar} |`;
}

/** @returns the root file system of an image */
async function unpack(folder: string, { reference, digest }: BuiltImage): Promise<string> {
  const layout = join(folder, /\/(.*):/.exec(reference)?.[1] ?? "");
  const manifests = await readManifests(layout, digest);
  const directory = await mkdtemp(join(scratch, "image-"));
  for (const layer of manifests.find(({ architecture }) => architecture === arch)?.layers ?? []) {
    const archive = blobPath(layout, layer.digest);
    execFileSync("tar", ["-xzf", archive, "-C", directory, "--no-same-owner", "--no-same-permissions"]);
  }
  return directory;
}

/** @returns processor time, milliseconds */
async function untilItDials(image: string): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const child = spawn(join(image, "usr/local/bin/node"), [join(image, "opt/contrast/initializer/main.js")], {
    env: {
      COORDINATOR_HOST: `127.0.0.1:${port}`,
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: tee,
      CONTRAST_TLS_CONFIG_DIR: join(scratch, "tls"),
    },
    stdio: "ignore",
  });
  const [socket] = (await once(server, "connection")) as [Socket];
  const cpu = cpuSeconds([{ pid: child.pid ?? NaN, stop: () => Promise.resolve() }]) * 1000;
  child.kill("SIGKILL");
  await once(child, "exit");
  socket.destroy();
  server.close();
  return cpu;
}

/** @returns resident MB, and processor time in milliseconds, when it accepts */
async function untilItAccepts(image: string): Promise<[number, number]> {
  const at = { host: "127.0.0.1", port: await freePort() };
  const proxy = await start(
    {
      command: [join(image, "usr/local/bin/node"), join(image, "opt/contrast/mesh-proxy/main.js")],
      environment: {
        CONTRAST_TLS_CONFIG_DIR: tlsConfig,
        CONTRAST_INGRESS_MODE: "bind",
        CONTRAST_EGRESS_PROXY_CONFIG: `web#127.0.0.1:${at.port}#localhost:1`,
      },
    },
    at,
  );
  try {
    return [memoryMb([proxy]), cpuSeconds([proxy]) * 1000];
  } finally {
    await proxy.stop();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function repeat<T>(measure: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let round = 0; round < ROUNDS; round++) results.push(await measure());
  return results;
}
