import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseAllDocuments } from "yaml";
import { z } from "zod";

/** What the kubelet of the demo reads from the generated files: the containers of a pod and their environment. */
const environment = z
  .array(z.object({ name: z.string(), value: z.string().default("") }))
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ name, value }) => [name, value])));

const container = z.object({
  name: z.string(),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  env: environment,
  ports: z.array(z.object({ name: z.string().optional(), containerPort: z.number() })).default([]),
});

const workload = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    template: z.object({
      spec: z.object({ initContainers: z.array(container).default([]), containers: z.array(container).min(1) }),
    }),
  }),
});

const service = z.object({
  kind: z.literal("Service"),
  metadata: z.object({ name: z.string() }),
  spec: z.object({ ports: z.array(z.object({ port: z.number(), targetPort: z.string() })) }),
});

export type Container = z.infer<typeof container>;

export interface Pod {
  readonly name: string;
  readonly initializer: Container | undefined;
  readonly proxy: Container | undefined;
  readonly application: Container;
  /** `service:port` of the Services of its file, and the pod's port to which each leads. */
  readonly services: ReadonlyMap<string, number>;
}

/** The pods of a file that have a template; everything else in it is none. */
export async function readPods(file: string): Promise<Pod[]> {
  const documents = parseAllDocuments(await readFile(file, "utf8"));
  const resources = documents.map((document) => document.toJS() as unknown);
  return resources.flatMap((resource) => {
    const result = workload.safeParse(resource);
    if (!result.success) return [];
    const { initContainers, containers } = result.data.spec.template.spec;
    const [application] = containers;
    if (application === undefined) throw new Error(`${basename(file)}: a pod without a container`);
    const find = (name: string): Container | undefined => initContainers.find((candidate) => candidate.name === name);
    return [
      {
        name: result.data.metadata.name,
        initializer: find("contrast-initializer"),
        proxy: find("contrast-mesh-proxy"),
        application,
        services: servicePorts(resources, application),
      },
    ];
  });
}

function servicePorts(resources: readonly unknown[], { ports }: Container): Map<string, number> {
  const found = new Map<string, number>();
  for (const { metadata, spec } of resources.flatMap((resource) => service.safeParse(resource).data ?? [])) {
    for (const { port, targetPort } of spec.ports) {
      const target = ports.find(({ name }) => name === targetPort);
      if (target !== undefined) found.set(`${metadata.name}:${port}`, target.containerPort);
    }
  }
  return found;
}
