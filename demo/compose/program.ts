import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { Report } from "../report.ts";
import { check, type Deployment } from "./checks.ts";
import { Compose, ComposeError } from "./engine.ts";

/** `npm run compose`: deploy/compose.yml from nothing to a verified deployment. */
const HELP = `Usage: npm run compose [-- --test | --down] [--no-build]

Builds the images, starts deploy/compose.yml, sets the manifest, verifies, and prints the URL of web.

  --test      check what the deployment promises, then take it down
  --down      take it down: containers, networks and volumes
  --no-build  take the images that the engine has

Variables: CONTRAST_WEB_PORT (8443), CONTRAST_COORDINATOR_PORT (1313), DOCKER_HOST.
`;

const root = join(import.meta.dirname, "..", "..");
const workspace = join(root, "demo-run", "compose");
const deployment = join(workspace, "deployment.yml");
const ports = {
  CONTRAST_WEB_PORT: Number(process.env["CONTRAST_WEB_PORT"] ?? "8443"),
  CONTRAST_COORDINATOR_PORT: Number(process.env["CONTRAST_COORDINATOR_PORT"] ?? "1313"),
};
const compose = new Compose(join(root, "deploy", "compose.yml"), { ...process.env, CONTRAST_WORKSPACE: workspace });
const report = new Report(
  (text) => void process.stdout.write(text),
  () => performance.now() / 1000,
);

const stop = new AbortController();
const interrupted = new Promise<never>((_resolve, reject) => {
  stop.signal.addEventListener("abort", () => reject(stop.signal.reason as Error), { once: true });
});
interrupted.catch(() => {});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => stop.abort(new Error("interrupted")));
}

async function main(): Promise<number> {
  let flags: { test?: boolean; down?: boolean; "no-build"?: boolean; help?: boolean };
  try {
    const flag = { type: "boolean" } as const;
    flags = parseArgs({ options: { test: flag, down: flag, "no-build": flag, help: flag } }).values;
  } catch (error) {
    process.stderr.write(`compose: ${describeError(error)}\n`);
    return 2;
  }
  if (flags.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  let started: Promise<void> | undefined;
  try {
    await compose.requireEngine();
    if (flags.down === true) {
      await compose.down();
      report.progress("containers, networks and volumes are removed");
      return 0;
    }
    if (flags["no-build"] !== true) await run("images/program.ts", "--arch", process.arch, "--load");
    for (const [variable, port] of Object.entries(ports)) await requireFree(variable, port);
    started = start();
    await Promise.race([started, interrupted]);
    if (flags.test !== true) return 0;
    await Promise.race([check(running, report), interrupted]);
  } catch (error) {
    process.stderr.write(`compose: ${describeError(error)}\n`);
    if (started !== undefined) await takeDown(started);
    return error instanceof CodedError ? 1 : 130;
  }
  await compose.down();
  await report.outcome("nothing is left behind", async () => {
    const left = await compose.leftovers();
    if (left !== "") throw new Error(left);
    return "no container, network or volume";
  });
  report.progress(`${report.passed} passed, ${report.failed} failed`);
  return report.failed === 0 && report.passed > 0 ? 0 : 1;
}

/** @param started what starts the deployment: it ends first, or it would go on to start what is being removed */
async function takeDown(started: Promise<void>): Promise<void> {
  await started.catch(() => {});
  await compose.down();
  // What the engine was still making when it was asked.
  if ((await compose.leftovers()) !== "") await compose.down();
}

async function start(): Promise<void> {
  report.progress("INSECURE: the TEE is software, so nothing is proven about hardware");
  await mkdir(workspace, { recursive: true });
  await contrast("generate", "--offline", "--reference-values", "simulated", "-o", deployment, "demo/deployment");
  // The pods run under other users. These keys are of a chip that does not exist.
  const tees = join(workspace, "simulated-tee");
  for (const pod of await readdir(tees)) {
    if (pod !== "vendor") await chmod(join(tees, pod, "vcek-key.pem"), 0o644);
  }
  // A Coordinator has the volume of this deployment or of none: another one's history would not be ours.
  await compose.down();
  await compose.up(stop.signal, "coordinator");
  report.progress("coordinator runs");
  await contrast("set", "-c", coordinator(), deployment);
  report.progress("contrast set: the manifest is in force");
  await compose.up(stop.signal);
  report.progress("emoji, voting, web and vote-bot run: Initializers, mesh proxies, applications");
  await contrast("verify", "-c", coordinator());
  report.progress("contrast verify: the Coordinator is the one of the manifest");
  const ca = join(workspace, "verify", "mesh-ca.pem");
  report.progress(`web: https://127.0.0.1:${ports.CONTRAST_WEB_PORT}, its certificate is for the name web`);
  report.progress(
    `try: curl --cacert ${ca} --connect-to web:443:127.0.0.1:${ports.CONTRAST_WEB_PORT} https://web/api/leaderboard`,
  );
  report.progress("npm run compose -- --down takes it down");
}

const running: Deployment = {
  compose,
  workspace,
  webPort: ports.CONTRAST_WEB_PORT,
  contrast: (command, ...args) => contrast(command, "-c", coordinator(), ...args),
};

function coordinator(): string {
  return `127.0.0.1:${ports.CONTRAST_COORDINATOR_PORT}`;
}

function contrast(command: string, ...args: string[]): Promise<void> {
  return run("cli/main.ts", "--workspace-dir", workspace, "--insecure", "--log-level", "warn", command, ...args);
}

/** Runs a program of the checkout to its end; what it says on stderr is shown. @throws where it fails */
async function run(program: string, ...args: string[]): Promise<void> {
  const child = spawn(process.execPath, [join(root, program), ...args], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  interrupted.catch(() => child.kill());
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new ComposeError("not_started", `${program} ended with ${code}`, { where: args.at(-1) });
}

async function requireFree(variable: string, port: number): Promise<void> {
  const server = createServer();
  try {
    await once(server.listen(port, "127.0.0.1"), "listening");
  } catch (error) {
    const hint = `set ${variable} to a free port, or end what listens there: npm run compose -- --down`;
    throw new ComposeError("port_taken", "a port is in use", { where: `127.0.0.1:${port}`, hint, cause: error });
  }
  server.close();
}

process.exitCode = await main();
