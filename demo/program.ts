import { cp, mkdtemp, readFile, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { AddressBlock } from "./address-block.ts";
import { Cluster } from "./cluster.ts";
import { changedPodIsRefused, isRefused, relayIsRefused, votes } from "./outcomes.ts";
import { type Pod, readPods } from "./pods.ts";
import { lastLines, Processes } from "./processes.ts";
import { must, Report } from "./report.ts";
import { Starter } from "./starter.ts";

/** The whole system on this machine: see the README. Exits 0 only if every promise was kept. */
const HELP = `Usage: npm run demo [-- --keep]

Runs the emojivoto deployment with a software TEE on this machine, shows what the mesh refuses, and cleans up.

  --keep  leave it running until Ctrl-C or the end of the shell, and print the URL of web
  --help  print this
`;

const WORKLOADS = ["emoji", "voting", "web", "vote-bot"];
const MISSING = ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "client_certificate_missing"];
const root = join(import.meta.dirname, "..");
const report = new Report(
  (text) => void process.stdout.write(text),
  () => performance.now() / 1000,
);

const keep = readArguments();
const directory = await mkdtemp(join(tmpdir(), "contrast-demo-"));
const workspace = join(directory, "workspace");
const processes = new Processes(root, join(directory, "logs"));

const interrupted = Promise.withResolvers<never>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => interrupted.reject(new Error("interrupted")));
}
const starter = new Starter(process.pid, process.ppid);
setInterval(() => {
  if (starter.isGone) interrupted.reject(new Error("interrupted"));
}, 500).unref();
// Of a terminal that is gone: what is left to say is for nobody.
process.stdout.on("error", () => undefined);
process.on("exit", () => processes.killAll());

try {
  report.progress(`files and logs: ${directory}`);
  report.progress("INSECURE: the pods have a software TEE, so nothing is proven about hardware");
  await Promise.race([show(), interrupted.promise]);
  if (keep) await interrupted.promise.catch(() => report.progress("stopping"));
} catch (error) {
  report.progress(`FAILED  ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
await processes.stopAll();
if (process.exitCode === undefined) {
  report.progress(`${report.passed} passed, ${report.failed} failed; all processes stopped`);
  process.exitCode = report.failed === 0 && report.passed > 0 ? 0 : 1;
}

async function show(): Promise<void> {
  const addresses = await AddressBlock.take();
  const deployment = join(directory, "deployment");
  await cp(join(root, "demo/deployment"), deployment, { recursive: true });
  const files = (await readdir(deployment)).map((file) => join(deployment, file));
  for (const file of files) await writeFile(file, addresses.moveEgress(await readFile(file, "utf8")));
  report.progress("contrast generate: makes keys, policies and the manifest");
  await contrast("generate", "--offline", "--reference-values", "simulated", deployment);

  const pods: Pod[] = (await Promise.all(files.map((file) => readPods(file)))).flat();
  const simulatedTees = join(workspace, "simulated-tee");
  const cluster = new Cluster({ root, directory, simulatedTees, processes, addresses, pods });
  const find = (name: string): Pod => {
    const pod = pods.find((candidate) => candidate.name === name);
    must(pod !== undefined, `the deployment has no pod ${name}`);
    return pod;
  };
  await cluster.startCoordinator();
  report.progress(`coordinator runs at ${cluster.coordinator}`);
  await contrast("set", "-c", `${cluster.coordinator}:1313`, deployment);
  report.progress("contrast set: the manifest is in force");
  for (const name of WORKLOADS) {
    await cluster.startPod(name);
    const proxy = find(name).proxy === undefined ? "" : " mesh proxy,";
    report.progress(`${name} runs at ${cluster.address(name)}: Initializer,${proxy} application`);
  }

  report.progress("contrast verify");
  await contrast("verify", "-c", `${cluster.coordinator}:1313`);
  const outsider = { ca: await meshCa() };
  const web = { address: cluster.address("web"), port: 8080 };
  await report.outcome("a browser that trusts mesh-ca.pem alone votes", () => votes(outsider, { ...web, name: "web" }));
  await report.outcome("without a client certificate nobody gets in", () =>
    isRefused(outsider, cluster, "emoji", MISSING),
  );
  await report.outcome("a changed pod gets no certificate", () =>
    changedPodIsRefused(cluster, find("web"), workspace, directory),
  );
  await report.outcome("stolen evidence is refused on another connection", () =>
    relayIsRefused(cluster, find("web"), directory),
  );

  const old = await cluster.stealVolume("web");
  await addName(find("web"), web.address);
  await contrast("set", "-c", `${cluster.coordinator}:1313`, deployment);
  report.progress(`contrast set: web may also be called ${web.address}, and the mesh has a new CA`);
  for (const name of WORKLOADS) await cluster.restartPod(name);
  report.progress("all pods restarted");
  await contrast("verify", "-c", `${cluster.coordinator}:1313`);
  const renewed = { ca: await meshCa() };
  const thief = {
    ...renewed,
    key: await readFile(join(old, "key.pem"), "utf8"),
    cert: await readFile(join(old, "certChain.pem"), "utf8"),
  };
  await report.outcome("a certificate issued before the change is rejected", () =>
    isRefused(thief, cluster, "emoji", ["client_certificate_untrusted"]),
  );
  await report.outcome("restarted pods work, now by IP address", () => votes(renewed, web));
  if (keep) {
    report.progress(`web: https://${web.address}:8080`);
    report.progress(
      `try: curl --cacert ${join(workspace, "verify/mesh-ca.pem")} https://${web.address}:8080/api/leaderboard`,
    );
    report.progress("Ctrl-C stops it");
  }
}

/** Runs the CLI as a user would. @returns its standard output */
async function contrast(command: string, ...args: string[]): Promise<string> {
  const running = processes.start(
    `contrast-${command}`,
    ["cli/main.ts", "--workspace-dir", workspace, "--insecure", command, ...args],
    {},
  );
  const code = await running.exited;
  if (code === 0) return running.stdout();
  throw new Error(`contrast ${command} exited with ${code}: ${(await lastLines(running.log, 5)).join("\n")}`);
}

function meshCa(): Promise<string> {
  return readFile(join(workspace, "verify/mesh-ca.pem"), "utf8");
}

/** Edits the manifest as a workload owner would: one more name for a pod. */
async function addName(pod: Pod, name: string): Promise<void> {
  const path = join(workspace, "manifest.json");
  const manifest = JSON.parse(await readFile(path, "utf8")) as { Policies: Record<string, { SANs: string[] }> };
  const policy = Object.values(manifest.Policies).find(({ SANs }) => SANs[0] === pod.name);
  must(policy !== undefined, `the manifest has no policy of ${pod.name}`);
  policy.SANs.push(name);
  await writeFile(path, `${JSON.stringify(manifest, undefined, 2)}\n`);
}

function readArguments(): boolean {
  try {
    const { values } = parseArgs({ options: { keep: { type: "boolean" }, help: { type: "boolean" } } });
    if (values.help === true) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    return values.keep === true;
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(2);
  }
}
