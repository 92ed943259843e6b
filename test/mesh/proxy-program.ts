import { rm } from "node:fs/promises";
import { onTestFinished } from "vitest";
import { type Mesh, type Workload, writeTlsConfig } from "../../pki/test-mesh.ts";
import { type Program, startProgram } from "../programs.ts";

export interface ProxyProgram extends Program {
  /** The folder of its certificates. */
  readonly folder: string;
}

/** The mesh proxy as a program, once it is ready. */
export async function startProxyProgram(
  mesh: Mesh,
  workload: Workload,
  variables: Readonly<Record<string, string>>,
  within: readonly string[] = [],
): Promise<ProxyProgram> {
  const folder = await writeTlsConfig(mesh, workload);
  const program = startProgram(["mesh-proxy/main.ts"], { CONTRAST_TLS_CONFIG_DIR: folder, ...variables }, within);
  onTestFinished(async () => {
    program.child.kill("SIGKILL");
    await program.exited;
    await rm(folder, { recursive: true });
  });
  await program.line("ready");
  return { ...program, folder };
}
