import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { inNamespace, waitFor } from "../../cluster/commands.ts";
import { CLIENT } from "../../cluster/layout.ts";
import { describeOnCluster } from "./cluster.ts";
import { COORDINATOR, GENERATE, released, Shell } from "./deployment.ts";

/**
 * The demo, whose pods renew their certificates, while its manifest is set and its pods are replaced. Every request goes
 * through web to emoji or voting, by mutual TLS.
 */

const DEMO = join(import.meta.dirname, "../../demo/deployment");
const APPS = ["emoji", "voting", "web", "vote-bot"];
const PER_SECOND = 10;
const PATHS = ["/api/list", "/api/leaderboard"];

interface Visits {
  readonly made: number;
  readonly failures: readonly string[];
}

describeOnCluster("certificates renewed while the demo serves", () => {
  let shell: Shell;
  let address: string;
  const types = async (script: string): Promise<string> =>
    shell.run(script.replaceAll("COORDINATOR", `$(${COORDINATOR})`));
  const rollout = `for app in ${APPS.join(" ")}; do kubectl rollout status deployment/$app --timeout=170s; done`;

  beforeAll(async () => {
    shell = await Shell.open("renewal");
    await mkdir(join(shell.folder, "deployment"));
    for (const name of APPS)
      await shell.write(`deployment/${name}.yml`, renewing(await readFile(join(DEMO, `${name}.yml`), "utf8")));
    await copyFile(released("coordinator.yml"), join(shell.folder, "deployment", "coordinator.yml"));
    await shell.run(`kubectl apply -f ${released("runtime-simulated.yml")}\n${GENERATE}`);
    const manifest = JSON.parse(await shell.read("manifest.json")) as Record<string, unknown>;
    expect(manifest["CertificateLifetime"]).toBe("24h");
    await edit({ MeshCAOverlap: "10m" });
    await types(`kubectl apply -f simulated-tee.json -f deployment/
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/coordinator service/web-svc --timeout=60s
kubectl wait --for=jsonpath='{.status.phase}'=Running pod/coordinator-0 --timeout=120s
for try in $(seq 20); do contrast set -c "COORDINATOR" deployment/ && break; sleep 1; done
contrast verify -c "COORDINATOR"
${rollout}`);
    address = (await shell.run("kubectl get svc web-svc -o=jsonpath='{.status.loadBalancer.ingress[0].ip}'")).trim();
    const page = `curl -sSf -m 5 --cacert verify/coordinator-root-ca.pem --connect-to web:443:${address}:443 https://web`;
    for (const path of PATHS) await waitFor(`${path} answers`, 60, async () => shell.run(`${page}${path}`));
  }, 400_000);

  afterAll(async () => shell.close());

  /** Changes keys of the manifest. */
  async function edit(changes: object): Promise<void> {
    const manifest = JSON.parse(await shell.read("manifest.json")) as object;
    await shell.write("manifest.json", JSON.stringify({ ...manifest, ...changes }, undefined, 2));
  }

  /** Visits the page's data while something is done. The root CA stays, whatever is set. */
  async function visiting(disturb: () => Promise<void>): Promise<Visits> {
    const program = [process.execPath, join(import.meta.dirname, "visitor.ts")];
    const ca = join(shell.folder, "verify", "coordinator-root-ca.pem");
    const wanted = [address, "443", "web", ca, `${PER_SECOND}`, ...PATHS];
    const [file, args] = inNamespace(CLIENT.namespace, [...program, ...wanted]);
    const visitor = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
    const output = text(visitor.stdout);
    await once(visitor.stderr, "data");
    try {
      await disturb();
    } finally {
      visitor.kill("SIGTERM");
    }
    return JSON.parse(await output) as Visits;
  }

  /** The lines of the Initializers' logs of all pods. */
  async function logs(): Promise<string> {
    return shell.run(APPS.map((app) => `kubectl logs deployment/${app} -c contrast-initializer`).join("\n"));
  }

  test("with a window, a set and a rollout after it lose not one request", async () => {
    const { made, failures } = await visiting(async () => {
      // The next generation grants a name more, and takes none.
      await nextManifest("first");
      const result = await types(`contrast set -c "COORDINATOR" deployment/`);
      expect(result).toContain("earlierCertificatesUntil");
      expect(result).toContain("deployment/web");
      // What runs changes to its new certificates by itself,
      await sleep(45_000);
      // and is replaced.
      await shell.run(`kubectl rollout restart ${APPS.map((app) => `deployment/${app}`).join(" ")}\n${rollout}`);
      await sleep(8000);
    });
    expect(failures).toEqual([]);
    expect(made).toBeGreaterThan(50 * PER_SECOND);
  }, 400_000);

  test("a rollout at once after the set loses none, either: new pods wait until the others know their mesh CA", async () => {
    const { made, failures } = await visiting(async () => {
      await nextManifest("second");
      await types(`contrast set -c "COORDINATOR" deployment/
kubectl rollout restart ${APPS.map((app) => `deployment/${app}`).join(" ")}
${rollout}`);
      await sleep(8000);
    });
    expect(failures).toEqual([]);
    expect(made).toBeGreaterThan(20 * PER_SECOND);
    expect(await logs()).toContain("the mesh CA is new: waiting until others have heard of it");
  }, 400_000);

  test("without the window requests fail, until all pods have renewed by themselves", async () => {
    const { failures } = await visiting(async () => {
      await nextManifest("third");
      const result = await types(`contrast set --revoke -c "COORDINATOR" deployment/`);
      expect(result).toContain("earlierCertificatesEnded");
      await sleep(25_000);
    });
    expect(failures).not.toEqual([]);
    process.stdout.write(`without the window ${failures.length} of ${25 * PER_SECOND} requests failed\n`);
    // No pod was restarted.
    const { made, failures: later } = await visiting(async () => sleep(5000));
    expect(later).toEqual([]);
    expect(made).toBeGreaterThan(3 * PER_SECOND);
    expect(await logs()).toContain("certificates renewed");
  }, 400_000);

  /** One that grants web a name more. */
  async function nextManifest(name: string): Promise<void> {
    const { Policies } = JSON.parse(await shell.read("manifest.json")) as {
      Policies: Record<string, { SANs: string[] }>;
    };
    Object.values(Policies)
      .find(({ SANs }) => SANs.includes("web"))
      ?.SANs.push(`${name}.example`);
    await edit({ Policies });
  }
});

/** In the namespace of the test, and with the annotation. */
function renewing(file: string): string {
  const documents = [...parseAllDocuments(file)];
  for (const document of documents) {
    document.deleteIn(["metadata", "namespace"]);
    if (document.get("kind") !== "Deployment") continue;
    document.setIn(["metadata", "annotations", "contrast.edgeless.systems/renew"], "true");
  }
  return documents.map(String).join("");
}
