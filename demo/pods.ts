import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { parseAllDocuments } from "yaml";
import { z } from "zod";

/** What the kubelet of the demo reads from the generated files: the containers of a pod and their environment. */
const environment = z
  .array(z.object({ name: z.string(), value: z.string() }))
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ name, value }) => [name, value])));

const container = z.object({
  name: z.string(),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  env: environment,
  ports: z.array(z.object({ containerPort: z.number() })).default([]),
});

const workload = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    template: z.object({
      spec: z.object({ initContainers: z.array(container).default([]), containers: z.array(container).min(1) }),
    }),
  }),
});

export type Container = z.infer<typeof container>;

export interface Pod {
  readonly name: string;
  readonly initializer: Container | undefined;
  readonly proxy: Container | undefined;
  readonly application: Container;
}

/** The pods of a file that have a template; everything else in it is none. */
export async function readPods(file: string): Promise<Pod[]> {
  const documents = parseAllDocuments(await readFile(file, "utf8"));
  return documents.flatMap((document) => {
    const result = workload.safeParse(document.toJS());
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
      },
    ];
  });
}
