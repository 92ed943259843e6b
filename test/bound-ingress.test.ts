import { spawnSync } from "node:child_process";
import { chmod, chown, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import { podSpecs, workspace } from "../cli/generate/test-workspace.ts";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { connectSecurely, readAll, startServer } from "./mesh-proxies.ts";
import { startProgram } from "./programs.ts";

/** A mesh proxy as `generate` writes it for mode `bind`: another user than root, and no capability. */

const POD_ADDRESS = "127.88.4.1";
const LOOPBACK = "127.0.0.1";

const NOT_ROOT = process.getuid?.() === 0 ? "" : ": not root";
const NO_SETPRIV = spawnSync("setpriv", ["--version"]).status === 0 ? "" : ": there is no setpriv";
const missing = NOT_ROOT || NO_SETPRIV;

/** The mesh proxy's container in a pod whose application has this port. */
async function containerFor(port: number): Promise<{ env: Record<string, string>; security: Record<string, unknown> }> {
  const named = { "servicemesh-ingress": "", "servicemesh-ingress-mode": "bind" };
  const annotations = Object.entries(named).map(([name, value]) => [`contrast.edgeless.systems/${name}`, value]);
  const containers = [{ name: "web", image: "web:1", command: ["web"], ports: [{ containerPort: port }] }];
  const template = {
    metadata: { annotations: Object.fromEntries(annotations) as object },
    spec: { runtimeClassName: "contrast-cc", containers },
  };
  const text = stringify({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web" }, spec: { template } });
  const { run, read } = await workspace({ "web.yml": text });
  await run({ referenceValues: ["simulated"] });
  const [, proxy] = podSpecs(await read("app/web.yml")).web.initContainers;
  const variables = (proxy.env as Record<string, unknown>[]).map(({ name, value = "", valueFrom }) => [
    name,
    valueFrom === undefined ? value : POD_ADDRESS,
  ]);
  return { env: Object.fromEntries(variables) as Record<string, string>, security: proxy.securityContext };
}

test.skipIf(missing !== "")(`mode bind asks for certificates and needs no capability${missing}`, async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const port = await startServer(LOOPBACK, (socket) => socket.end("from the application"));
  const { env, security } = await containerFor(port);
  expect(security).toMatchObject({ runAsUser: 65_532, runAsNonRoot: true, capabilities: { drop: ["ALL"] } });
  expect(security["capabilities"]).not.toHaveProperty("add");
  expect(env).toMatchObject({ CONTRAST_INGRESS_BIND: POD_ADDRESS, CONTRAST_INGRESS_PORTS: `${port}` });

  const folder = await writeTlsConfig(mesh, workload);
  onTestFinished(() => rm(folder, { recursive: true }));
  await chown(folder, 65_532, 65_532);
  await chown(join(folder, "key.pem"), 65_532, 65_532);
  await chmod(join(folder, "key.pem"), 0o400);
  const user = ["--reuid=65532", "--regid=65532", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
  const within = ["setpriv", ...user, "--no-new-privs"];
  const variables = { ...env, CONTRAST_TLS_CONFIG_DIR: folder };
  const proxy = startProgram(["mesh-proxy/main.ts"], variables, within);
  onTestFinished(async () => {
    proxy.child.kill("SIGKILL");
    await proxy.exited;
  });
  await proxy.line("ready");
  const check = startProgram(["mesh-proxy/main.ts", "healthcheck"], variables, within);
  expect([await check.exited, check.stdout()]).toEqual([0, "ready\n"]);

  const at = { host: POD_ADDRESS, port };
  const good = connectSecurely(mesh, await mesh.issue(), at);
  expect((await readAll(good)).toString()).toBe("from the application");
  const stranger = connectSecurely(mesh, undefined, at);
  await expect(readAll(stranger)).rejects.toThrow();
});
