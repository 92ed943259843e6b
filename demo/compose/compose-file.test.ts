import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { VERSION } from "../../runtime/version.ts";

/** deploy/compose.yml says by hand what `generate` makes of demo/deployment. */

const root = join(import.meta.dirname, "../..");
const { services } = parse(readFileSync(join(root, "deploy/compose.yml"), "utf8"), { merge: true }) as {
  services: Record<string, { image: string; environment?: Record<string, string>; command?: string[] }>;
};

interface Resource {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly annotations: Record<string, string> };
      readonly spec: { readonly containers: [{ command: string[]; env?: { name: string; value: string }[] }] };
    };
  };
}

test.each(["emoji", "voting", "web", "vote-bot"])("%s runs in compose as in Kubernetes", (name) => {
  const documents = parseAllDocuments(readFileSync(join(root, "demo/deployment", `${name}.yml`), "utf8"));
  const [resource] = documents.map((document) => document.toJS() as Resource) as [Resource];
  const { metadata, spec } = resource.spec.template;
  const annotation = (suffix: string) => metadata.annotations[`contrast.edgeless.systems/servicemesh-${suffix}`];
  const proxy = services[`${name}-mesh-proxy`]?.environment ?? {};
  expect(proxy["CONTRAST_INGRESS_PROXY_CONFIG"]).toBe(annotation("ingress"));
  expect(proxy["CONTRAST_EGRESS_PROXY_CONFIG"]).toBe(annotation("egress"));

  const [{ command, env = [] }] = spec.containers;
  expect(services[name]?.command).toEqual(command.slice(1));
  expect(services[name]?.environment ?? {}).toEqual(Object.fromEntries(env.map((it) => [it.name, it.value])));
});

test("every image is of this version", () => {
  for (const [name, { image }] of Object.entries(services)) expect(image, name).toMatch(`:${VERSION}`);
});
