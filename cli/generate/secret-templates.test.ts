import { expect, test } from "vitest";
import { ResourceError } from "../../kubernetes/error.ts";
import { secretTemplates } from "../../secret-files/templates-variable.ts";
import { reviewed } from "./findings/test-review.ts";
import { COORDINATOR, podSpecs, WEB, workspace } from "./test-workspace.ts";

/** Annotations with templates, as the Initializer is told them; and the volume of pods that were made for another Contrast. */

const PREFIX = "contrast.edgeless.systems";
const CONF = 'user: app\\npassword: {{ secret \\"db\\" | json }} # $(HOME) $$\\n';

function withAnnotations(...lines: readonly string[]): string {
  return WEB.replace(/( *)contrast\S*servicemesh-ingress:/, (found, indent: string) => {
    return lines.map((line) => `${indent}${PREFIX}/${line}\n`).join("") + found;
  });
}

async function refused(...lines: readonly string[]): Promise<string[]> {
  const { run, dir } = await workspace({ "web.yml": withAnnotations(...lines), "coordinator.yml": COORDINATOR });
  const error = await run().catch((thrown: unknown) => thrown);
  if (!(error instanceof ResourceError)) throw new Error("it was not refused", { cause: error });
  expect(error.code).toBe("invalid_annotation");
  return error.faults.map(({ where, got, want }) => {
    return `${where.replace(`${dir}/app/`, "").replaceAll(`${PREFIX}/`, "")}: got ${got}, want ${want}`;
  });
}

test("the Initializer is told the templates, in one variable that the policy pins, and a dollar stays a dollar", async () => {
  const { run, read } = await workspace({
    "web.yml": withAnnotations(`secret-template-b.conf: "${CONF}"`, `secret-template-a: '{{ "{{" }} .X }}'`),
    "coordinator.yml": COORDINATOR,
  });
  await run();
  const [initializer, proxy] = podSpecs(await read("app/web.yml")).web.initContainers;
  const { value } = initializer.env.find(({ name }: { name: string }) => name === "CONTRAST_SECRET_TEMPLATES");
  expect(value).not.toContain("$");
  expect([...secretTemplates.parse(value)]).toEqual([
    ["a", ["{{ .X }}"]],
    ["b.conf", ["user: app\npassword: ", { secret: "db", filters: ["json"] }, " # $(HOME) $$\n"]],
  ]);
  expect(JSON.stringify(proxy)).not.toContain("SECRET_TEMPLATES");
  expect((await run()).changedFiles).toEqual([]);
});

test("another template is another policy, and without annotations there is no variable", async () => {
  const { run, read, write } = await workspace({
    "web.yml": withAnnotations(`secret-template-a: "one"`),
    "coordinator.yml": COORDINATOR,
  });
  const hashOf = async (): Promise<string | undefined> => {
    const { policies } = await run();
    return policies.find(({ name }) => name === "web")?.hash;
  };
  const first = await hashOf();
  await write(
    "app/web.yml",
    (await read("app/web.yml")).replace('secret-template-a: "one"', 'secret-template-a: "two"'),
  );
  expect(await hashOf()).not.toBe(first);
  await write("app/web.yml", (await read("app/web.yml")).replace(/.*secret-template-a.*\n/, ""));
  await run();
  expect(JSON.stringify(podSpecs(await read("app/web.yml")))).not.toContain("SECRET_TEMPLATES");
});

test.each<[string, readonly string[], string]>([
  [
    "a malformed template, with its place in file and template",
    [`secret-template-app.conf: "a\\n  {{ secret db }}"`],
    'web.yml:13:61, secret-template-app.conf, line 2, column 3: got "{{ secret db }}", want {{ secret "NAME" }}',
  ],
  ["a name that leads elsewhere", [`secret-template-..: "x"`], 'secret-template-..: got "..", want a file\'s name'],
  ["no name", [`secret-template-: "x"`], 'secret-template-: got "", want a file\'s name'],
  [
    "the name of the own secret",
    [`secret-template-workload-secret-seed: "x"`],
    'got "workload-secret-seed", want a file\'s name',
  ],
  ["a name that Kubernetes does not take", [`secret-template-${"a".repeat(48)}: "x"`], "at most 47 characters"],
  ["a last character that it does not take", [`secret-template-a.: "x"`], "a letter or digit last"],
  [
    "the name of a secret in a template",
    [`secret-template-db: "x"`, `secret-template-app: '{{ secret "db" }}'`],
    'secret-template-db: got "db", which is the name of a secret of the pod, too',
  ],
  [
    "too many",
    Array.from({ length: 17 }, (_, index) => `secret-template-f${index}: "x"`),
    "got 17 templates, want at most 16",
  ],
  [
    "a pod without an Initializer",
    [`secret-template-a: "x"`, `skip-initializer: "true"`],
    "secret-template-a: got a template, want no such annotation: the pod has no Initializer",
  ],
  ["a misspelt annotation", [`secret-templates-a: "x"`], "want one of servicemesh-ingress"],
])("refuses %s", async (_, lines, fault) => {
  expect(await refused(...lines)).toContainEqual(expect.stringContaining(fault));
});

test("a template of the longest name that Kubernetes takes is taken", async () => {
  const { run } = await workspace({
    "web.yml": withAnnotations(`secret-template-${"a".repeat(47)}: "x"`),
    "coordinator.yml": COORDINATOR,
  });
  await run();
});

const certs = { name: "contrast-tls-certs", mountPath: "/contrast", readOnly: true };

test("a container may mount the volume where it wants, and does not write to it", async () => {
  const mount = "        - {name: contrast-tls-certs, mountPath: /contrast}\n";
  const { run, read } = await workspace({ "web.yml": WEB.replace(/( *)- name: data\n( *)mountPath/, `${mount}$&`) });
  await run();
  const { containers } = podSpecs(await read("app/web.yml")).web;
  expect(containers[0].volumeMounts).toEqual([certs, { name: "data", mountPath: "/data" }]);
  expect((await run()).changedFiles).toEqual([]);
});

test("a pod that was made for the volume contrast-secrets gets this one in its place", async () => {
  const former = `      initContainers:
      - name: contrast-initializer
        image: ghcr.io/edgelesssys/contrast/initializer:latest
        volumeMounts:
        - {name: contrast-secrets, mountPath: /contrast}
      - name: early
        image: early:1
        volumeMounts:
        - {name: contrast-secrets, mountPath: /contrast}
`;
  const { run, read } = await workspace({
    "web.yml": WEB.replace("      initContainers:\n", former)
      .replace(/( *)- name: data\n( *)mountPath/, "        - {name: contrast-secrets, mountPath: /contrast}\n$&")
      .replace(/( *)- name: data\n( *)emptyDir/, "      - {name: contrast-secrets, emptyDir: {}}\n$&"),
  });
  await run();
  const { web } = podSpecs(await read("app/web.yml"));
  const mounts = (name: string): unknown =>
    [...web.initContainers, ...web.containers].find((container: { name: string }) => container.name === name)
      .volumeMounts;
  expect(mounts("contrast-initializer")).toEqual([{ name: "contrast-tls-certs", mountPath: "/tls-config" }]);
  expect(mounts("contrast-mesh-proxy")).toEqual([{ ...certs, mountPath: "/tls-config" }]);
  expect(mounts("early")).toEqual([certs]);
  expect(mounts("web")).toEqual([certs, { name: "data", mountPath: "/data" }]);
  expect(web.volumes).toEqual([
    { name: "data", emptyDir: {} },
    { name: "contrast-tls-certs", emptyDir: { medium: "Memory" } },
  ]);
  expect((await run()).changedFiles).toEqual([]);
});

test.each([
  ["a command", { command: ["nginx", "--key=/contrast/tls-config/key.pem"] }, "/contrast/tls-config/key.pem"],
  [
    "arguments",
    { args: ["sh", "-c", "cat /contrast/secrets/workload-secret-seed"] },
    "/contrast/secrets/workload-secret-seed",
  ],
  ["a variable", { env: [{ name: "CERTS", value: "/contrast/tls-config" }] }, "/contrast/tls-config"],
])("warns of %s that looks for files where nothing is mounted", async (_, fields, path) => {
  const about = (text: string): boolean => text.includes("and no volume there");
  const web = { name: "web", image: "web:1", command: ["web"], ...fields };
  const lines = await reviewed({ containers: [web] });
  expect(lines.filter(about)).toEqual([
    expect.stringContaining(`: ${path} in the command or the variables of web, and no volume there`) as string,
  ]);
  const mounted = { ...web, volumeMounts: [{ name: "contrast-tls-certs", mountPath: "/contrast" }] };
  expect((await reviewed({ containers: [mounted] })).filter(about)).toEqual([]);
  const elsewhere = { ...web, command: ["/srv/contrast/tls-config", "/contrast/other"], args: null, env: null };
  expect((await reviewed({ containers: [elsewhere] })).filter(about)).toEqual([]);
});

test("a volume of that name that is something else stays what it is", async () => {
  const { run, read } = await workspace({
    "web.yml": WEB.replace(
      /( *)- name: data\n( *)mountPath/,
      "        - {name: contrast-secrets, mountPath: /x}\n$&",
    ).replace(/( *)- name: data\n( *)emptyDir/, "      - {name: contrast-secrets, configMap: {name: x}}\n$&"),
  });
  await run();
  const { web } = podSpecs(await read("app/web.yml"));
  expect(web.volumes).toContainEqual({ name: "contrast-secrets", configMap: { name: "x" } });
  expect(web.containers[0].volumeMounts).toContainEqual({ name: "contrast-secrets", mountPath: "/x" });
});
