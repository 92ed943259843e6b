import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createMesh, writeTlsConfig } from "../../pki/test-mesh.ts";
import { VERSION } from "../../runtime/version.ts";
import { startServer, connectSecurely } from "../mesh-proxies.ts";
import { startProgram } from "../programs.ts";

/** The image of the mesh proxy for arm64, with an engine that was cross-built, run by qemu's emulation of that machine. */

const PROXY = "127.184.2.1";
const APPLICATION = "127.184.2.2";

const root = join(import.meta.dirname, "../..");
const scratch = mkdtempSync(join(tmpdir(), "contrast-arm64-test-"));
const image = join(scratch, "root");
afterAll(() => rmSync(scratch, { recursive: true }));

const NEEDS = ["qemu-aarch64-static", "aarch64-linux-gnu-gcc", "cargo", "buildah", "mmdebstrap"];
const missing = NEEDS.find((name) => spawnSync("which", [name]).status !== 0);

describe.skipIf(missing !== undefined)(
  `arm64${missing === undefined ? "" : ` (skipped: there is no ${missing})`}`,
  () => {
    beforeAll(() => {
      execFileSync("npm", ["run", "build"], { cwd: root, stdio: "ignore" });
      const images = join(scratch, "images");
      const args = ["--arch", "arm64", "--only", "mesh-proxy", "--out", images];
      execFileSync(process.execPath, ["images/program.ts", ...args], {
        cwd: root,
        stdio: ["ignore", "ignore", "pipe"],
      });
      mkdirSync(image);
      const layout = `oci:${join(images, "mesh-proxy")}:${VERSION}`;
      const unpacked = join(scratch, "unpacked");
      execFileSync("skopeo", ["copy", "-q", "--override-arch", "arm64", layout, `dir:${unpacked}`]);
      const { layers } = JSON.parse(readFileSync(join(unpacked, "manifest.json"), "utf8")) as {
        layers: { digest: string }[];
      };
      for (const { digest } of layers) {
        execFileSync("tar", ["-xzf", join(unpacked, digest.replace("sha256:", "")), "-C", image]);
      }
    }, 1_800_000);

    test("a connection passes its native engine by mutual TLS", { timeout: 300_000 }, async () => {
      const mesh = await createMesh();
      const workload = await mesh.issue();
      const certificates = await writeTlsConfig(mesh, workload);
      onTestFinished(() => rmSync(certificates, { recursive: true }));
      const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
      const variables = {
        CONTRAST_TLS_CONFIG_DIR: certificates,
        CONTRAST_INGRESS_PROXY_CONFIG: "",
        CONTRAST_INGRESS_MODE: "bind",
        CONTRAST_INGRESS_BIND: PROXY,
        CONTRAST_INGRESS_TARGET: APPLICATION,
        CONTRAST_INGRESS_PORTS: `${port}`,
        CONTRAST_LOG_FORMAT: "json",
        CONTRAST_ENGINE: "native",
      };
      // In place of the Node that runs this.
      const within = ["sh", "-c", `exec qemu-aarch64-static -L "${image}" "${image}/usr/local/bin/node" "$@"`];
      const program = startProgram([join(image, "opt/contrast/mesh-proxy/main.js")], variables, within);
      onTestFinished(async () => {
        program.child.kill("SIGKILL");
        await program.exited;
      });
      expect(await program.line("ready")).toMatchObject({ engine: "native" });
      const stream = connectSecurely(mesh, workload, { host: PROXY, port });
      await once(stream, "secureConnect");
      expect(stream.getProtocol()).toBe("TLSv1.3");
      stream.write("hello");
      const [answer] = (await once(stream, "data")) as [Buffer];
      expect(String(answer)).toBe("hello");
      stream.destroy();
      expect(readdirSync(join(image, "opt/contrast/node_modules/@contrast-mesh"))).toEqual(["engine-linux-arm64-gnu"]);
    });
  },
);
