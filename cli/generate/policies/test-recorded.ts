import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type PodSpec, podTemplateSchema } from "../../../kubernetes/pod-spec.ts";
import { MESH_PROXY } from "../../../policy/own-images.ts";
import { pinned } from "../../../policy/test-pods.ts";
import type { Runtime } from "../../../policy/test-kubelet.ts";

/** What containerd and Kata's runtimes made of pods of the demo, on a real cluster, and the pods as they were then. */

// oxlint-disable-next-line typescript/no-explicit-any -- read from files
export type Loose = any;

const VECTORS = join(import.meta.dirname, "../../../../shared/vectors/kata");

export const NO_RECORDING = existsSync(VECTORS)
  ? undefined
  : "there is no folder ../shared/vectors beside the checkout";

/** The images were of a registry on the machine that recorded them, and known by their tags. */
const IMAGE = pinned("contrast/emojivoto:0.1.0");

export interface Recorded {
  readonly workload: string;
  readonly spec: PodSpec;
  /** CreateContainerRequest, by the container's name; that of the sandbox is empty. */
  readonly requests: ReadonlyMap<string, Loose>;
}

export async function readRecorded(runtime: Runtime): Promise<Recorded[]> {
  const files = (await readdir(join(VECTORS, runtime))).toSorted();
  const workloads = [...new Set(files.map((file) => file.split(".")[0] ?? ""))];
  return Promise.all(
    workloads.map(async (workload) => {
      const own = files.filter((file) => file.startsWith(`${workload}.`));
      const containers = await Promise.all(
        own.map(async (file) => {
          const [request, oci] = await Promise.all([runtime, "oci"].map((folder) => read(join(folder, file))));
          const name = file.split(".")[1] ?? "";
          return { name: name === "sandbox" ? "" : name, request: withImage(request), oci };
        }),
      );
      const requests = new Map(containers.map(({ name, request }) => [name, request] as const));
      return { workload, spec: specOf(containers.filter(({ name }) => name !== "")), requests };
    }),
  );
}

async function read(path: string): Promise<Loose> {
  return JSON.parse(await readFile(join(VECTORS, path), "utf8"));
}

function withImage(request: Loose): Loose {
  const name: string | undefined = request.OCI.Annotations["io.kubernetes.cri.image-name"];
  return name === undefined ? request : JSON.parse(JSON.stringify(request).replaceAll(name, IMAGE));
}

const SERVICE = /^[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_TCP(?:_\w+)?|PORT(?==tcp:))=/;

/** What kubelet and containerd mount in every container. */
const ADDED = /^\/(?:etc\/(?:hosts|hostname|resolv\.conf)|dev\/(?:shm|termination-log)|var\/run\/secrets\/.*)$/;

/** By the kubelet's names of its kinds of volumes; others are claims. */
const SOURCES: Readonly<Record<string, object>> = {
  "empty-dir": { emptyDir: { medium: "Memory" } },
  secret: { secret: { secretName: "recorded" } },
};

/** The pod that leads to what containerd wrote. */
function specOf(containers: readonly { readonly name: string; readonly oci: Loose }[]): PodSpec {
  const volumes = new Map<string, object>();
  const list = containers.map(({ name, oci: { process, root, mounts } }) => {
    const volumeMounts = mounts.flatMap(({ type, source, destination, options }: Loose) => {
      if (type !== "bind" || ADDED.test(destination)) return [];
      const [, kind = "", found] = /\/volumes\/kubernetes\.io~([\w-]+)\/([^/]*)$/.exec(source) ?? [];
      const volume = found ?? destination.replaceAll("/", "-").slice(1);
      volumes.set(volume, SOURCES[kind] ?? { persistentVolumeClaim: { claimName: volume } });
      return [{ name: volume, mountPath: destination, readOnly: options.includes("ro") }];
    });
    const capabilities = (process.capabilities?.bounding ?? []).map((name: string) => name.slice("CAP_".length));
    return {
      name,
      image: IMAGE,
      command: process.args,
      workingDir: process.cwd,
      env: process.env
        .filter((variable: string) => !SERVICE.test(variable) && !/^(?:HOSTNAME|PATH)=/.test(variable))
        .map((variable: string) => ({
          name: variable.split("=", 1)[0],
          value: variable.slice(variable.indexOf("=") + 1).replaceAll("$", "$$$$"),
        })),
      volumeMounts,
      securityContext: {
        runAsUser: process.user.uid,
        runAsGroup: process.user.gid,
        allowPrivilegeEscalation: process.noNewPrivileges !== true,
        readOnlyRootFilesystem: root.readonly === true,
        capabilities: { drop: ["ALL"], add: capabilities },
      },
    };
  });
  const init = list.filter(({ name }) => name === "contrast-initializer");
  const spec = {
    runtimeClassName: "contrast-cc",
    automountServiceAccountToken: containers.some(({ oci }) =>
      oci.mounts.some(({ destination }: Loose) => destination.startsWith("/var/run/secrets/")),
    ),
    initContainers: init,
    // As `generate` puts it: the proxy first.
    containers: list
      .filter((container) => !init.includes(container))
      .toSorted((a, b) => Number(b.name === MESH_PROXY) - Number(a.name === MESH_PROXY)),
    volumes: [...volumes].map(([name, source]) => ({ name, ...source })),
  };
  return podTemplateSchema.parse({ spec }).spec;
}
