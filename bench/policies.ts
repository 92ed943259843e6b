import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { demoPods } from "../cli/generate/policies/test-demo.ts";
import { policyOf } from "../policy/policy.ts";
import { lifeOf, type Step } from "../policy/test-life.ts";
import { clusterFor, IMAGES } from "../policy/test-pods.ts";
import { NO_REGORUS, POLICY_ENGINE, startRegorus } from "../policy/test-regorus.ts";
import { podRequests } from "../policy/test-requests.ts";
import { median } from "./rounds.ts";

/**
 * `npm run bench:policies [-- --rounds N] [-- --engine PROGRAM]`: how large the policies of the demo are, and how long the
 * agent's engine takes for each request of a pod's life, with the variables of many services. Another program of
 * policy/engine may be named, such as one with the revision of regorus that an agent has.
 */

/** Milliseconds. */
const TARGET = 5;
const SERVICES = 10;

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "15" }, engine: { type: "string", default: POLICY_ENGINE } },
});
if (values.engine === POLICY_ENGINE && NO_REGORUS !== undefined) throw new Error(NO_REGORUS);

const pods = await demoPods();
const policies = Object.entries(pods).map(([name, { subject, spec }]) => {
  const rego = policyOf(subject, spec, IMAGES);
  return { name, rego, bytes: rego.length, compressed: gzipSync(rego).length };
});

const { subject, spec } = pods["demo web"] ?? missing();
const life = lifeOf(podRequests(spec, IMAGES, clusterFor(subject)));
const steps = life.slice(
  0,
  life.findIndex(({ what }) => what.startsWith("remove")),
);
steps.forEach(addServices);

const times = steps.map(() => [] as number[]);
for (let round = 0; round < Number(values.rounds); round++) {
  const engine = await startRegorus({ web: policyOf(subject, spec, IMAGES) }, values.engine);
  const replies = await engine.ask(steps.map(({ kind, request }) => ({ kind, request, policy: "web" })));
  await engine.stop();
  for (const [index, { allowed, microseconds, message }] of replies.entries()) {
    if (!allowed) throw new Error(message);
    times[index]?.push(microseconds / 1000);
  }
}

const lines = steps.map(({ kind, what }, index) => ({ kind, what: what.trim(), time: median(times[index] ?? []) }));
const slowest = Math.max(...lines.filter(({ kind }) => kind === "CreateContainerRequest").map(({ time }) => time));
const report = [
  "# Policies",
  "",
  "Written by `npm run bench:policies`. Sizes of the policies of the demo, and how long the agent's engine takes for the",
  `requests of the pod \`web\`, with the variables of ${SERVICES} services: medians of ${values.rounds} starts, each request once, as an agent is`,
  "asked.",
  "",
  `${availableParallelism()} cores; Node ${process.versions.node}, ${process.arch}.`,
  "",
  "| policy | bytes | compressed |",
  "|---|---|---|",
  ...policies.map(({ name, bytes, compressed }) => `| ${name} | ${bytes} | ${compressed} |`),
  "",
  "| request | ms |",
  "|---|---|",
  ...lines.map(
    ({ what, time }) =>
      `| ${what === "create" || what === "start" ? `${what} the sandbox` : what} | ${time.toFixed(1)} |`,
  ),
  "",
  `Target: no CreateContainerRequest takes more than ${TARGET} ms. The slowest took ${slowest.toFixed(1)} ms: ${slowest <= TARGET ? "met" : "missed"}.`,
  "",
].join("\n");
process.stdout.write(report);
if (values.engine === POLICY_ENGINE) writeFileSync(join(import.meta.dirname, "results", "policies.md"), report);

/** What a kubelet puts into every container, for each service of a namespace. */
function addServices({ kind, what, request }: Step): void {
  if (kind !== "CreateContainerRequest" || what === "create ") return;
  for (let service = 0; service < SERVICES; service++) {
    const [name, address] = [`SERVICE_${service}`, `10.96.0.${service + 10}`];
    request.OCI.Process.Env.push(
      `${name}_SERVICE_HOST=${address}`,
      `${name}_SERVICE_PORT=8080`,
      `${name}_PORT=tcp://${address}:8080`,
      `${name}_PORT_8080_TCP=tcp://${address}:8080`,
      `${name}_PORT_8080_TCP_PROTO=tcp`,
      `${name}_PORT_8080_TCP_PORT=8080`,
      `${name}_PORT_8080_TCP_ADDR=${address}`,
    );
  }
}

function missing(): never {
  throw new Error("the demo has no pod web");
}
