import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { encodeInitdata, policyHash, regoOf } from "../manifest/initdata.ts";
import { type Browser, get, type Url } from "./browser.ts";
import type { Cluster } from "./cluster.ts";
import type { Pod } from "./pods.ts";
import { lastLines } from "./processes.ts";
import { must } from "./report.ts";
import { relay, trap } from "./thief.ts";

/** What the demo promises to show. Each function gives what it saw, or throws what was wrong. */

const EMOJI_PORT = 8080;
const MESH_API_PORT = 7777;

/** A vote goes from web through its two egress listeners: to emoji, which knows the choice, and to voting. */
export async function votes(browser: Browser, web: Omit<Url, "path">): Promise<string> {
  const page = await get(browser, { ...web, path: "/" });
  must(page.status === 200 && page.body.includes("<html"), `web answered ${page.status}`);
  const choice = ":doughnut:";
  const before = await count(browser, web, choice);
  const vote = await get(browser, { ...web, path: `/api/vote?choice=${encodeURIComponent(choice)}` });
  must(vote.status === 200, `the vote was answered with ${vote.status} ${vote.body}`);
  const after = await count(browser, web, choice);
  must(after > before, `${choice} has ${after} votes after the vote and had ${before} before`);
  return `https://${web.name ?? web.address}:${web.port} answers; emoji and voting took ${choice} from ${before} to ${after}`;
}

async function count(browser: Browser, web: Omit<Url, "path">, choice: string): Promise<number> {
  const { status, body } = await get(browser, { ...web, path: "/api/leaderboard" });
  must(status === 200, `the leaderboard answered ${status} ${body}`);
  const entries = JSON.parse(body) as { shortcode: string; votes: number }[];
  return entries.find((entry) => entry.shortcode === choice)?.votes ?? 0;
}

/**
 * The mesh refuses whoever can't show a certificate of the mesh CA that is in force.
 *
 * @param reasons of which the client is told one by TLS, or the pod's log has it
 */
export async function isRefused(browser: Browser, cluster: Cluster, pod: string, reasons: string[]): Promise<string> {
  const url = { address: cluster.address(pod), port: EMOJI_PORT, name: pod, path: "/" };
  const answer = await get(browser, url).then(
    ({ status }) => `${pod} answered ${status}`,
    (error: unknown) => error as NodeJS.ErrnoException,
  );
  must(typeof answer !== "string", String(answer));
  const ending = answer.code ?? answer.message;
  for (let tries = 0; tries < 20; tries++) {
    const log = (await lastLines(cluster.log(`${pod}-mesh-proxy`), 1)).join();
    const reason = reasons.find((wanted) => ending === wanted || log.includes(`"${wanted}"`));
    if (reason !== undefined) return `${reason}${reason === ending ? "" : `, the connection ends with ${ending}`}`;
    await delay(100);
  }
  throw new Error(`the connection ended with ${ending}, and nothing says ${reasons.join(" or ")}`);
}

/** An attacker changes what a pod runs. The host measures it all the same, and the manifest does not list it. */
export async function changedPodIsRefused(
  cluster: Cluster,
  pod: Pod,
  workspace: string,
  directory: string,
): Promise<string> {
  const listed = JSON.parse(await readFile(join(workspace, "manifest.json"), "utf8")) as { Policies: object };
  const honest = await readFile(
    join(workspace, "verify", `policy.${Object.keys(listed.Policies)[0] ?? ""}.rego`),
    "utf8",
  );
  const changed = encodeInitdata(`${honest}# and one more container\n`);
  must(regoOf(changed) !== honest, "the policy is unchanged");
  const hostData = Buffer.from(policyHash(changed), "hex");
  const tee = join(directory, "changed-pod-tee");
  const vendor = await openOrCreateVendor(join(workspace, "simulated-tee", "vendor"), new Date());
  await vendor.launch(tee, { hostData });
  const volume = join(directory, "pods", "changed", "tls-config");
  const initializer = cluster.startInitializer({ ...pod, name: "changed" }, { volume, tee });
  const code = await initializer.exited;
  const log = (await lastLines(initializer.log, 1)).join();
  must(code === 3, `its Initializer exited with ${code}: ${log}`);
  must(!existsSync(join(volume, "certChain.pem")), "it got a certificate");
  const line = JSON.parse(log) as { code?: string; msg?: string };
  must(line.code === "policy_not_allowed", `it was refused for another reason: ${log}`);
  const [reason] = (line.msg ?? "").split(" (");
  return `its Initializer ends with exit code 3, ${reason}`;
}

/** Real evidence of a real workload, shown by somebody else on another connection. */
export async function relayIsRefused(cluster: Cluster, pod: Pod, directory: string): Promise<string> {
  const { address, evidence, close } = await trap(cluster.stranger);
  const volume = join(directory, "pods", "robbed", "tls-config");
  const victim = cluster.startInitializer(
    { ...pod, name: "robbed" },
    { volume, coordinator: address, tee: join(directory, "workspace", "simulated-tee", pod.name), timeout: "10s" },
  );
  try {
    const stolen = await evidence;
    must(stolen.evidence !== undefined, "the trap caught no evidence");
    const code = await relay(stolen, cluster.coordinator, MESH_API_PORT);
    must(code === "report_data_mismatch", `the Coordinator answered ${code ?? "with its trust"}`);
    return `the Coordinator answers ${code}`;
  } finally {
    close();
    await victim.stop();
  }
}
