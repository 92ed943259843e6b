import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startProgram } from "./programs.ts";

/**
 * Anybody who may create a Service in a namespace sets variables of every pod there. Every program is run with what a
 * kubelet sets for Services whose names look like our variables, and has to say what it says without them.
 */

let directory: string;
beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), "service-links-"))));
afterAll(async () => rm(directory, { recursive: true }));

const SERVICES = ["contrast", "contrast-admin", "contrast-ingress", "contrast-listen", "contrast-log", "coordinator"];
const LINKS = Object.fromEntries(
  SERVICES.map((name) => name.toUpperCase().replaceAll("-", "_")).flatMap((name) => [
    [`${name}_SERVICE_HOST`, "fd00::1"],
    [`${name}_SERVICE_PORT`, "80"],
    [`${name}_SERVICE_PORT_HTTP`, "80"],
    [`${name}_SERVICE_PORT_BIND`, "80"],
    [`${name}_PORT`, "tcp://[fd00::1]:80"],
    ...(["TCP", "UDP", "SCTP"] as const).flatMap((protocol) => [
      [`${name}_PORT_80_${protocol}`, `${protocol.toLowerCase()}://[fd00::1]:80`],
      [`${name}_PORT_80_${protocol}_PROTO`, protocol.toLowerCase()],
      [`${name}_PORT_80_${protocol}_PORT`, "80"],
      [`${name}_PORT_80_${protocol}_ADDR`, "fd00::1"],
    ]),
  ]),
) as Record<string, string>;

test.each([
  ["an Initializer", ["initializer/main.ts"], {}],
  ["an Initializer that closes ports", ["initializer/main.ts", "static-rules"], {}],
  ["a mesh proxy", ["mesh-proxy/main.ts"], { CONTRAST_TLS_CONFIG_DIR: "/no/such/folder" }],
  ["a mesh proxy with a fault", ["mesh-proxy/main.ts"], { CONTRAST_INGRESS_MODE: "bound" }],
  ["a health check", ["mesh-proxy/main.ts", "healthcheck"], { CONTRAST_TLS_CONFIG_DIR: "/no/such/folder" }],
  ["a Coordinator", ["coordinator/main.ts"], { CONTRAST_TEE: "simulated" }],
  ["the CLI", ["cli/main.ts", "verify", "--output", "json"], {}],
])("%s does not see Services", async (_, args, variables: Record<string, string>) => {
  const run = async (links: Record<string, string>): Promise<unknown> => {
    const environment = { ...variables, CONTRAST_WORKSPACE_DIR: directory, CONTRAST_LOG_FORMAT: "json", ...links };
    const { exited, log, text, stdout } = startProgram(args, environment);
    return { code: await exited, log: log.map(({ level, code, msg }) => ({ level, code, msg })), text, out: stdout() };
  };
  const [without, withLinks] = await Promise.all([run({}), run(LINKS)]);
  expect(withLinks).toEqual(without);
  expect(JSON.stringify(without)).not.toContain("_PORT");
});

test("a health check asks the proxy's own socket where a Service looks like its admin port", async () => {
  const { exited, stdout } = startProgram(["mesh-proxy/main.ts", "healthcheck"], {
    CONTRAST_ADMIN_PORT: "udp://10.0.0.1:80",
    CONTRAST_TLS_CONFIG_DIR: directory,
  });
  expect([await exited, stdout()]).toEqual([1, "not ready\n"]);
});
