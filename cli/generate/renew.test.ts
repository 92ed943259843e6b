import { expect, test } from "vitest";
import { COORDINATOR, podSpecs, WEB, workspace } from "./test-workspace.ts";

const RENEWING = WEB.replace(
  /( *)(contrast\S*servicemesh-ingress:)/,
  '$1contrast.edgeless.systems/renew: "true"\n$1$2',
);
const FILES = { "web.yml": RENEWING, "coordinator.yml": COORDINATOR };
const NODE = ["/usr/local/bin/node", "/opt/contrast/initializer/main.js"];

test("the Initializer of a pod that renews stays as the first native sidecar, and what follows waits for its certificates", async () => {
  const { run, read } = await workspace(FILES);
  await run();
  const text = await read("app/web.yml");
  const [first, second] = podSpecs(text).web.initContainers;
  expect(first).toMatchObject({
    name: "contrast-initializer",
    command: [...NODE, "keep"],
    restartPolicy: "Always",
    startupProbe: { exec: { command: [...NODE, "healthcheck"] }, periodSeconds: 1, timeoutSeconds: 5 },
    resources: { requests: { memory: first.resources.limits.memory } },
  });
  expect(second.name).toBe("contrast-mesh-proxy");
  expect((await run()).changedFiles).toEqual([]);
});

test("without the annotation it is the init container that it was", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  await run();
  const before = podSpecs(await read("app/web.yml")).web.initContainers[0];
  await write(
    "app/web.yml",
    (await read("app/web.yml")).replace(
      /( *)(contrast\S*servicemesh-ingress:)/,
      '$1contrast.edgeless.systems/renew: "true"\n$1$2',
    ),
  );
  await run();
  expect(podSpecs(await read("app/web.yml")).web.initContainers[0].restartPolicy).toBe("Always");
  await write("app/web.yml", (await read("app/web.yml")).replace(/.*systems\/renew.*\n/, ""));
  await run();
  expect(podSpecs(await read("app/web.yml")).web.initContainers[0]).toEqual(before);
});

test.each([
  ["container", {}, RENEWING, "--sidecar native"],
  [
    "native",
    {},
    RENEWING.replace("systems/servicemesh-egress: 'db#127.137.0.1:5432#db:5432'", 'systems/skip-initializer: "true"'),
    "no Initializer",
  ],
  ["native", {}, RENEWING.replace('renew: "true"', "renew: yes please"), '"true" or "false"'],
] as const)("with --sidecar %s it is refused where nothing could renew", async (sidecar, _, text, want) => {
  const { run } = await workspace({ ...FILES, "web.yml": text });
  await expect(run({ sidecar })).rejects.toMatchObject({
    code: "invalid_annotation",
    faults: [
      { where: expect.stringContaining("systems/renew") as string, want: expect.stringContaining(want) as string },
    ],
  });
});

test("certificates live for a day where every pod renews them, and for a year where one does not", async () => {
  const lifetime = async (files: Record<string, string>): Promise<unknown> => {
    const { run, manifest } = await workspace(files);
    await run();
    return (await manifest())["CertificateLifetime"];
  };
  expect(await lifetime(FILES)).toBe("24h");
  expect(await lifetime({ ...FILES, "other.yml": WEB.replaceAll("name: web", "name: other") })).toBe("8760h");
  expect(await lifetime({ "coordinator.yml": COORDINATOR })).toBe("8760h");
});

test("a lifetime that people chose stays, and generate says where it does not fit", async () => {
  const { run, manifest, write, talk } = await workspace(FILES);
  await run();
  await write("app/other.yml", WEB.replaceAll("name: web", "name: other"));
  await run();
  expect((await manifest())["CertificateLifetime"]).toBe("24h");
  expect(talk.join("\n")).toContain(
    "$.CertificateLifetime is 24h, and Deployment/other would have to be restarted before",
  );
});
