import { chmod, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { CodedError, describeError } from "../../runtime/errors.ts";
import { Report } from "../report.ts";
import { check, type Deployment } from "./checks.ts";
import { Compose } from "./engine.ts";
import type { Flags } from "./flags.ts";
import { onOwnEngine } from "./on-own-engine.ts";
import { whyNoEngine } from "./own-engine.ts";
import { requireFree } from "./ports.ts";
import { Programs } from "./programs.ts";

/** `npm run compose`: deploy/compose.yml from nothing to a verified deployment. */
const HELP = `Usage: npm run compose [-- --test | --down] [--no-build | --load FILE]

Builds the images, starts deploy/compose.yml, sets the manifest, verifies, and prints the URL of web.
Where dockerd is installed and no engine answers, root gets one that lives as long as this program, in namespaces.

  --test       check what the deployment promises, then take it down
  --down       take it down: containers, networks and volumes
  --no-build   take the images that the engine has
  --load FILE  take the images of this archive, which docker save wrote

Variables: CONTRAST_WEB_PORT (8443), CONTRAST_COORDINATOR_PORT (1313),
CONTRAST_ATTEST_PORT (1314), DOCKER_HOST.
`;

const root = join(import.meta.dirname, "..", "..");
const workspace = join(root, "demo-run", "compose");
const deployment = join(workspace, "deployment.yml");
const ports = {
  CONTRAST_WEB_PORT: Number(process.env["CONTRAST_WEB_PORT"] ?? "8443"),
  CONTRAST_COORDINATOR_PORT: Number(process.env["CONTRAST_COORDINATOR_PORT"] ?? "1313"),
  CONTRAST_ATTEST_PORT: Number(process.env["CONTRAST_ATTEST_PORT"] ?? "1314"),
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
const programs = new Programs(root, stop.signal);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => stop.abort(new Error("interrupted")));
}

async function main(): Promise<number> {
  let flags: Flags;
  try {
    const [flag, file] = [{ type: "boolean" }, { type: "string" }] as const;
    const options = { test: flag, down: flag, "no-build": flag, load: file, help: flag, inside: flag };
    flags = parseArgs({ options }).values;
  } catch (error) {
    process.stderr.write(`compose: ${describeError(error)}\n`);
    return 2;
  }
  if (flags.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  try {
    await compose.requireEngine();
  } catch (error) {
    return withoutEngine(error, flags);
  }
  return onEngine(flags);
}

/** Where docker was told of an engine, that one is meant; and whatever is to be taken down was on another one. */
async function withoutEngine(error: unknown, flags: Flags): Promise<number> {
  const isMeant = process.env["DOCKER_HOST"] !== undefined || flags.down === true;
  const obstacle = isMeant ? "" : whyNoEngine();
  if (obstacle === undefined) return onOwnEngine(flags, { root, ports, programs, report, stop: stop.signal });
  process.stderr.write(`compose: ${describeError(error)}\n`);
  if (obstacle !== "") process.stderr.write(`compose: and none of its own is started: ${obstacle}\n`);
  return 1;
}

async function onEngine(flags: Flags): Promise<number> {
  let started: Promise<void> | undefined;
  try {
    if (flags.down === true) {
      await compose.down();
      report.progress("containers, networks and volumes are removed");
      return 0;
    }
    if (flags.load !== undefined) await compose.load(flags.load);
    else if (flags["no-build"] !== true) await programs.run(["images/program.ts", "--arch", process.arch, "--load"]);
    await requireFree(ports);
    started = start(flags.inside === true);
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

/** @param isOwn the engine ends with this program */
async function start(isOwn: boolean): Promise<void> {
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
  // Nor is it the one that an earlier run has pinned: this one begins with an empty volume.
  for (const known of ["pinned.json", "coordinator-root-ca.pem"]) await rm(join(workspace, known), { force: true });
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
  if (!isOwn) report.progress("npm run compose -- --down takes it down");
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

async function contrast(command: string, ...args: string[]): Promise<void> {
  const options = ["--workspace-dir", workspace, "--insecure", "--log-level", "warn"];
  await programs.run(["cli/main.ts", ...options, command, ...args]);
}

process.exitCode = await main();
