import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Program, startProgram } from "./programs.ts";

/** A workspace and a deployment of two pods, as the CLI makes them, and the programs that go with them. */

const root = join(import.meta.dirname, "..");

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliDeployment {
  readonly directory: string;
  /** A file of the workspace, and its text. */
  readonly file: (name: string) => string;
  readonly read: (name: string) => string;
  /** `generate` for the deployment's files, with further arguments. */
  readonly generate: (...args: readonly string[]) => Promise<Ended>;
  /** A command that talks to the Coordinator; `set` and `rekey` get the deployment's files. */
  readonly contrast: (command: string, ...args: readonly string[]) => Promise<Ended>;
  /** The same with another `--coordinator` or none, and variables for the command. */
  readonly contrastAt: (
    at: { readonly coordinator?: string; readonly environment?: Readonly<Record<string, string>> },
    command: string,
    ...args: readonly string[]
  ) => Promise<Ended>;
  /** The same in the workspace of somebody else, who names files and keys himself. */
  readonly contrastIn: (workspace: string, command: string, ...args: readonly string[]) => Promise<Ended>;
  /** The same, whose result is JSON; it must end well. */
  readonly result: (command: string, ...args: readonly string[]) => Promise<Readonly<Record<string, unknown>>>;
  /** @param state the name of its state directory */
  readonly startCoordinator: (state: string) => Promise<Program>;
  /** @param vm whose pod it is, as `simulated-tee/` names it; web's where left out */
  readonly enroll: (volume: string, vm?: string) => Promise<{ readonly chain: string; readonly secret: string }>;
  readonly stop: (program: Program) => Promise<void>;
  readonly editManifest: (change: (manifest: Record<string, unknown>) => void) => void;
  readonly remove: () => Promise<void>;
}

type ReleasedProgram = "cli" | "coordinator" | "initializer";

/**
 * @param address loopback, nobody else's
 * @param releases where the sources of a program are, at the time that it is started; this checkout where left out
 */
export function createCliDeployment(
  address: string,
  releases: Readonly<Partial<Record<ReleasedProgram, string>>> = {},
): CliDeployment {
  const main = (program: ReleasedProgram): string => join(releases[program] ?? "", `${program}/main.ts`);
  const directory = mkdtempSync(join(tmpdir(), "cli-deployment-"));
  const files = join(directory, "deployment");
  mkdirSync(files);
  for (const name of ["coordinator.yml", "web.yml"]) cpSync(join(root, "demo/deployment", name), join(files, name));
  const file = (name: string): string => join(directory, "workspace", name);
  const read = (name: string): string => readFileSync(file(name), "utf8");
  const running: Program[] = [];

  const cliWith = async (
    environment: Readonly<Record<string, string>>,
    workspace: string,
    ...args: readonly string[]
  ): Promise<Ended> => {
    const program = startProgram([main("cli"), "--insecure", "--workspace-dir", workspace, ...args], environment);
    running.push(program);
    const code = await program.exited;
    return { code, stdout: program.stdout(), stderr: program.text.join("\n") };
  };
  const cliIn = async (workspace: string, ...args: readonly string[]): Promise<Ended> =>
    cliWith({}, workspace, ...args);
  const cli = async (...args: readonly string[]): Promise<Ended> => cliIn(file("."), ...args);
  const argumentsOf = (command: string, args: readonly string[], coordinator?: string): string[] => [
    command,
    ...(command === "sign" || coordinator === undefined ? [] : ["-c", coordinator]),
    ...args,
    ...(command === "set" || (command === "rekey" && !args.includes("--prepare")) ? [files] : []),
  ];
  const tee = (vm: string): Record<string, string> => ({
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: file(`simulated-tee/${vm}`),
  });
  const start = (program: ReleasedProgram, environment: Record<string, string>): Program => {
    const started = startProgram([main(program)], environment);
    running.push(started);
    return started;
  };
  return {
    directory,
    file,
    read,
    generate: (...args) => cli("generate", "--offline", "--reference-values", "simulated", ...args, files),
    contrast: (command, ...args) => cli(...argumentsOf(command, args, address)),
    contrastAt: ({ coordinator, environment = {} }, command, ...args) =>
      cliWith(environment, file("."), ...argumentsOf(command, args, coordinator)),
    contrastIn: (workspace, command, ...args) => cliIn(workspace, command, "-c", address, ...args),
    result: async (command, ...args) => {
      const { code, stdout, stderr } = await cli("--output", "json", ...argumentsOf(command, args, address));
      if (code !== 0) throw new Error(`contrast ${command} ended with ${code}: ${stderr}`);
      return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
    },
    startCoordinator: async (state) => {
      const program = start("coordinator", {
        ...tee("coordinator"),
        CONTRAST_STATE_DIR: join(directory, state),
        CONTRAST_LISTEN_ADDRESS: address,
      });
      await program.line("ready");
      return program;
    },
    enroll: async (volume, vm = "web") => {
      const path = join(directory, volume);
      const initializer = start("initializer", {
        ...tee(vm),
        COORDINATOR_HOST: address,
        CONTRAST_TLS_CONFIG_DIR: path,
      });
      const code = await initializer.exited;
      if (code !== 0) throw new Error(`the Initializer ended with ${code}: ${initializer.log.at(-1)?.msg}`);
      return { chain: join(path, "certChain.pem"), secret: readFileSync(join(path, "workload-secret-seed"), "utf8") };
    },
    stop: async (program) => {
      program.child.kill("SIGTERM");
      await program.exited;
    },
    editManifest: (change) => {
      const manifest = JSON.parse(read("manifest.json")) as Record<string, unknown>;
      change(manifest);
      writeFileSync(file("manifest.json"), JSON.stringify(manifest, undefined, 2));
    },
    remove: async () => {
      for (const program of running) {
        program.child.kill("SIGKILL");
        await program.exited;
      }
      rmSync(directory, { recursive: true });
    },
  };
}
