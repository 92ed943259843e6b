import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { CodedError, describeError } from "../../runtime/errors.ts";
import type { Report } from "../report.ts";
import { ComposeError } from "./engine.ts";
import type { Flags } from "./flags.ts";
import { type OwnEngine, startOwnEngine } from "./own-engine.ts";
import { type Ports, requireFree } from "./ports.ts";
import type { Programs } from "./programs.ts";

export interface Surroundings {
  readonly root: string;
  readonly ports: Ports;
  readonly programs: Programs;
  readonly report: Report;
  /** Somebody wants it to end. */
  readonly stop: AbortSignal;
}

/**
 * The same program once more, in the network of an engine that ends with this one. Without `--test` it goes on until
 * somebody ends it.
 *
 * @returns the exit code
 */
export async function onOwnEngine(
  flags: Flags,
  { root, ports, programs, report, stop }: Surroundings,
): Promise<number> {
  let engine: OwnEngine | undefined;
  let relay: ChildProcess | undefined;
  try {
    if (flags["no-build"] === true) {
      const hint = "start dockerd, or leave out --no-build: an engine of its own has no images";
      throw new ComposeError("engine_missing", "the Docker engine does not answer", { hint });
    }
    await requireFree(ports);
    report.progress("no Docker engine answers: one is started that ends with this program");
    engine = await startOwnEngine();
    const environment = { ...process.env, ...engine.environment };
    // Debian's packages come from outside, where the engine has no way to.
    if (flags.load === undefined)
      await programs.run(["images/program.ts", "--arch", process.arch, "--load"], { environment });
    relay = await startRelay(engine, ports);
    const images = flags.load === undefined ? ["--no-build"] : ["--load", flags.load];
    const again = ["demo/compose/program.ts", "--inside", ...images, ...(flags.test === true ? ["--test"] : [])];
    const inside = { environment, before: engine.inside, stdout: "inherit", codes: [0, 1, 130] } as const;
    const code = await programs.run(again, inside);
    if (code !== 0 || flags.test === true) return code;
    report.progress("Ctrl-C takes it down");
    if (!stop.aborted) await once(stop, "abort");
    report.progress("the deployment and its engine are taken down");
    return 0;
  } catch (error) {
    process.stderr.write(`compose: ${describeError(error)}\n`);
    return error instanceof CodedError && !stop.aborted ? 1 : 130;
  } finally {
    relay?.kill();
    await engine?.stop();
  }

  /** Whoever connects to the published ports of this machine gets to those in the engine's network. */
  async function startRelay({ inside: [command = "", ...args] }: OwnEngine, published: Ports): Promise<ChildProcess> {
    const child = spawn(command, [...args, process.execPath, join(root, "demo", "compose", "relay.ts")], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    for (const port of Object.values(published)) {
      const server = createServer({ allowHalfOpen: true }).listen(port, "127.0.0.1");
      await once(server, "listening");
      child.send(port, server, () => server.close());
    }
    return child;
  }
}
