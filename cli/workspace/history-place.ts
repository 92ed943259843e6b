import { stat } from "node:fs/promises";
import { hostname } from "node:os";
import { Option } from "commander";
import { FileStore } from "../../store/file-store.ts";
import { KubernetesStore } from "../../store/kubernetes/kubernetes-store.ts";
import type { Store } from "../../store/store.ts";
import { CliError, type Context } from "../context.ts";
import { withKubectlProxy } from "./kubectl-proxy.ts";

/** Where a Coordinator has its history: a folder, or a namespace of a cluster. */
export interface HistoryPlace {
  readonly stateDir?: string;
  readonly namespace?: string;
  readonly stateName: string;
  readonly context?: string;
}

export const historyPlaceOptions = (): Option[] => [
  new Option("--state-dir <dir>", "the folder of a Coordinator that keeps its history in files"),
  new Option("-n, --namespace <name>", "the namespace of a Coordinator that keeps its history on the Kubernetes API"),
  new Option("--state-name <name>", "the Coordinator's CONTRAST_STATE_NAME there").default("coordinator"),
  new Option("--context <name>", "the context of the kubeconfig (default: the current one)"),
];

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

type Surroundings = Pick<Context, "network" | "now">;

/** To read, also while Coordinators run. @throws CliError usage, unreadable_file, kubectl_failed; Refusal of many codes */
export async function readHistoryPlace<T>(
  around: Surroundings,
  place: HistoryPlace,
  use: (store: Pick<Store, "get" | "latest">) => Promise<T>,
): Promise<T> {
  const { stateDir } = requireOnePlace(place);
  if (stateDir === undefined) return onKubernetes(around, place, use);
  await requireFolder(stateDir);
  return use(FileStore.reader(stateDir));
}

/** To write. A folder that is not there is made. @throws as `readHistoryPlace` */
export async function writeHistoryPlace<T>(
  around: Surroundings,
  place: HistoryPlace,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  const { stateDir } = requireOnePlace(place);
  if (stateDir === undefined) return onKubernetes(around, place, use);
  const store = await FileStore.open(stateDir, { pid: process.pid, host: hostname(), since: around.now() });
  return use(store).finally(() => store.close());
}

function requireOnePlace(place: HistoryPlace): HistoryPlace {
  if ((place.stateDir === undefined) !== (place.namespace === undefined)) return place;
  throw new CliError("usage", "the history is in a folder or in a namespace", { want: "--state-dir or --namespace" });
}

async function onKubernetes<T>(
  { network }: Surroundings,
  { namespace, stateName, context }: HistoryPlace,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  for (const [where, name] of Object.entries({ "--namespace": namespace, "--state-name": stateName })) {
    if (name === undefined || !NAME.test(name)) {
      throw new CliError("usage", "this is no name of Kubernetes", {
        where,
        got: JSON.stringify(name),
        want: "a DNS label",
      });
    }
  }
  return withKubectlProxy(namespace ?? "", context, async (socket) => {
    const random = (length: number): Buffer => Buffer.from(Array.from({ length }, () => network.random() * 256));
    const options = { random, sleep: network.sleep, monotonic: () => 0, name: stateName, namespace: namespace ?? "" };
    const store = await KubernetesStore.open({ place: { socket }, ...options });
    return use(store).finally(() => store.close());
  });
}

/** A folder that is made because its name was mistyped has no history to back up. */
async function requireFolder(path: string): Promise<void> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new CliError("unreadable_file", "there is no such folder", { where: path });
}
