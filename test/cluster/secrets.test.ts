import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../cluster/commands.ts";
import { describeOnCluster } from "./cluster.ts";
import { COORDINATOR, deploy, Shell } from "./deployment.ts";
import { httpServer, workload } from "./resources.ts";

/**
 * Secrets by name, from an owner's command to files that an application reads, which is not root: it mounts the volume at
 * /contrast. Another pod waits for a secret that nobody sets.
 */

const TEMPLATE = 'user = app\npassword = {{ secret "db-password" | json }} # $(HOSTNAME)\n';
const FILES = ["secrets/db-password", "secrets/app.conf", "secrets/workload-secret-seed", "tls-config/key.pem"];
const READ = `for (const name of ${JSON.stringify(FILES)}) console.log(JSON.stringify(require("node:fs").readFileSync("/contrast/" + name, "utf8")))`;

const APPS = [
  workload("app", {
    script: httpServer(8080),
    annotations: { renew: "true", "secret-template-app.conf": TEMPLATE },
    container: { volumeMounts: [{ name: "contrast-tls-certs", mountPath: "/contrast" }] },
  }),
  workload("impatient", {
    script: httpServer(8080),
    annotations: { "secret-template-app.conf": '{{ secret "absent" }}' },
    pod: {
      initContainers: [
        {
          name: "contrast-initializer",
          image: "contrast/initializer:0.1.0",
          env: [{ name: "CONTRAST_TIMEOUT", value: "5s" }],
        },
      ],
    },
  }),
];

describeOnCluster("secrets by name", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("secrets");
    await deploy(shell, APPS);
  });

  afterAll(async () => shell.close());

  async function set(value: string): Promise<void> {
    await shell.run(`printf %s '${value}' | contrast secret set db-password -c "$(${COORDINATOR})" --for app`);
  }

  /** What the application reads. */
  async function files(): Promise<string[]> {
    const text = await shell.kubectl("exec", "deployment/app", "-c", "app", "--", "node", "-e", READ);
    return text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as string);
  }

  /** Of the pod: its id, and how often its containers have started again. */
  async function pod(): Promise<unknown> {
    const { items } = JSON.parse(await shell.kubectl("get", "pods", "-l", "app=app", "-o", "json")) as {
      items: { metadata: { uid: string }; status: Record<string, { restartCount: number }[] | undefined> }[];
    };
    return items.map(({ metadata, status }) => {
      const all = [...(status["initContainerStatuses"] ?? []), ...(status["containerStatuses"] ?? [])];
      return [metadata.uid, all.map(({ restartCount }) => restartCount)];
    });
  }

  test("a pod waits for the secret of its template, says so, and starts when it is set", async () => {
    await waitFor("the Initializer says what it waits for", 60, async () => {
      const log = await shell.kubectl("logs", "deployment/app", "-c", "contrast-initializer");
      if (!log.includes("secret_missing: ")) throw new Error(log);
      expect(log).toContain("nothing for db-password");
      expect(log).toContain("contrast secret set db-password --for WORKLOAD");
    });
    expect(await shell.kubectl("get", "pods", "-l", "app=app", "-o", "jsonpath={.items[*].status.phase}")).toBe(
      "Pending",
    );
    await set("hunter2 first");
    await shell.kubectl("rollout", "status", "deployment/app", "--timeout=120s");
    const [secret, conf, seed, key] = await files();
    expect([secret, conf]).toEqual(["hunter2 first", 'user = app\npassword = "hunter2 first" # $(HOSTNAME)\n']);
    expect(seed).toMatch(/^[0-9a-f]{64}$/);
    expect(key).toContain("BEGIN PRIVATE KEY");
  });

  test("another version is in the pod within a minute, and nothing starts again", async () => {
    const before = await pod();
    await set('hunter2 "second"');
    await waitFor("the pod has the new value", 60, async () => {
      const [secret] = await files();
      if (secret !== 'hunter2 "second"') throw new Error(secret);
    });
    const [, conf] = await files();
    expect(conf).toBe('user = app\npassword = "hunter2 \\"second\\"" # $(HOSTNAME)\n');
    expect(await pod()).toEqual(before);
    const log = await shell.kubectl("logs", "deployment/app", "-c", "contrast-initializer");
    expect(log).toContain("db-password@2");
    expect(log).not.toContain("hunter2");
  });

  test("where the time is up, kubectl describe says what is missing", async () => {
    await waitFor("the kubelet has the message", 60, async () => {
      const text = await shell.kubectl("describe", "pod", "-l", "app=impatient");
      if (!text.includes("gave_up")) throw new Error(text);
      expect(text).toMatch(/stopped waiting: secret_missing.*template app\.conf.*nothing for absent/s);
      expect(text).toMatch(/Exit Code: +5/);
    });
  });
});
