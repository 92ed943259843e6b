import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { VERSION } from "../../runtime/version.ts";

/** deploy/compose.yml says by hand what `generate` makes of demo/deployment. */

const root = join(import.meta.dirname, "../..");
const { services } = parse(readFileSync(join(root, "deploy/compose.yml"), "utf8"), { merge: true }) as {
  services: Record<
    string,
    {
      image: string;
      environment?: Record<string, string>;
      command?: string[];
      network_mode?: string;
      cap_add?: string[];
      depends_on?: Record<string, { condition: string }>;
    }
  >;
};

interface Resource {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly annotations?: Record<string, string> };
      readonly spec: { readonly containers: [{ command: string[]; env?: { name: string; value: string }[] }] };
    };
  };
}

test.each(["emoji", "voting", "web", "vote-bot"])("%s runs in compose as in Kubernetes", (name) => {
  const documents = parseAllDocuments(readFileSync(join(root, "demo/deployment", `${name}.yml`), "utf8"));
  const [resource] = documents.map((document) => document.toJS() as Resource) as [Resource];
  const { metadata, spec } = resource.spec.template;
  const annotation = (suffix: string) => metadata.annotations?.[`contrast.edgeless.systems/servicemesh-${suffix}`];
  const proxy = services[`${name}-mesh-proxy`]?.environment ?? {};
  expect(proxy["CONTRAST_INGRESS_PROXY_CONFIG"]).toBe(annotation("ingress"));
  expect(proxy["CONTRAST_EGRESS_PROXY_CONFIG"]).toBe(annotation("egress"));

  // The Initializer closes the ports that the mesh proxy opens: of the same network, and before it.
  const initializer = services[`${name}-initializer`];
  const isClosed = annotation("ingress") !== undefined;
  expect(initializer?.environment?.["CONTRAST_INGRESS_PROXY_CONFIG"]).toBe(annotation("ingress"));
  expect(initializer?.environment?.["CONTRAST_ADMIN_PORT"]).toBe(isClosed ? proxy["CONTRAST_ADMIN_PORT"] : undefined);
  expect(initializer?.cap_add).toEqual(isClosed ? ["NET_ADMIN", "NET_RAW"] : []);
  const hasProxy = isClosed || annotation("egress") !== undefined;
  const containers = [`${name}-initializer`, ...(hasProxy ? [`${name}-mesh-proxy`] : []), name];
  for (const container of containers) expect(services[container]?.network_mode).toBe(`service:${name}-pod`);
  expect(services[containers[1] ?? ""]?.depends_on).toEqual({
    [`${name}-initializer`]: { condition: "service_completed_successfully" },
  });
  if (hasProxy)
    expect(services[name]?.depends_on).toEqual({ [`${name}-mesh-proxy`]: { condition: "service_healthy" } });

  const [{ command, env = [] }] = spec.containers;
  expect(services[name]?.command).toEqual(command.slice(1));
  // There is no Service in compose, which leads from one port to another.
  const variables = env.map((it) => [it.name, it.value.replace(/^web-svc:443$/, "web-svc:8080")]);
  expect(services[name]?.environment ?? {}).toEqual(Object.fromEntries(variables));
});

test("every image is of this version", () => {
  for (const [name, { image }] of Object.entries(services)) expect(image, name).toMatch(`:${VERSION}`);
});
