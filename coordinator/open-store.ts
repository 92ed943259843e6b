import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Refusal } from "../api/refusal.ts";
import { ACCOUNT } from "../kubernetes/api/client.ts";
import { type Environment, Malformed, type Variable } from "../runtime/environment.ts";
import type { Logger } from "../runtime/log.ts";
import { FileStore } from "../store/file-store.ts";
import { KubernetesStore } from "../store/kubernetes/kubernetes-store.ts";
import type { Holder } from "../store/state-lock.ts";
import type { Store } from "../store/store.ts";

export interface StoreConfiguration {
  readonly CONTRAST_STATE_STORE: "file" | "kubernetes";
  readonly CONTRAST_STATE_DIR: string;
  readonly CONTRAST_STATE_NAME: string;
}

export interface StoreSurroundings {
  readonly holder: Holder;
  readonly random: (length: number) => Buffer;
  /** Milliseconds of a clock that only goes forward. */
  readonly monotonic: () => number;
  /** For what Kubernetes sets in every pod: KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT. */
  readonly environment: Environment;
  readonly log: Logger;
  readonly stop: AbortSignal;
}

/** How long it waits for an API server before it asks again, in milliseconds. */
const LEAST_WAIT_MS = 500;
const MOST_WAIT_MS = 10_000;

/** An API server that has just started refuses for a moment what its roles allow: it has not read them yet. */
const ROLES_MS = 10_000;

/** The name of a state: a label of DNS, and short enough for a label of Kubernetes. */
export function stateName(unset: string, help: string): Variable<string> {
  return {
    help,
    unset,
    parse(text) {
      if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text))
        throw Malformed.text(text, "a DNS label, like coordinator");
      return text;
    },
  };
}

/**
 * Opens the store that the configuration names. An API server that does not answer is waited for: a Coordinator that ends
 * is started again at ever longer intervals.
 *
 * @throws Refusal `state_forbidden` where it is still refused after ten seconds, and others
 */
export async function openStore(configuration: StoreConfiguration, around: StoreSurroundings): Promise<Store> {
  if (configuration.CONTRAST_STATE_STORE === "file") {
    return FileStore.open(configuration.CONTRAST_STATE_DIR, around.holder);
  }
  const { random, monotonic, environment, log, stop } = around;
  const options = {
    place: { ...serverIn(environment), account: ACCOUNT },
    namespace: await namespaceOf(ACCOUNT),
    name: configuration.CONTRAST_STATE_NAME,
    random,
    monotonic,
    sleep: (ms: number) => delay(ms),
  };
  const began = monotonic();
  const isWaitedFor = ({ code }: Refusal): boolean =>
    code === "state_unavailable" || (code === "state_forbidden" && monotonic() - began < ROLES_MS);
  for (let wait = LEAST_WAIT_MS; ; wait = Math.min(2 * wait, MOST_WAIT_MS)) {
    try {
      return await KubernetesStore.open(options);
    } catch (error) {
      if (!(error instanceof Refusal) || !isWaitedFor(error) || stop.aborted) throw error;
      log.warn({ code: error.code }, `waiting for the history: ${error.describe()}`);
    }
    await delay(wait, undefined, { signal: stop });
  }
}

function serverIn(environment: Environment): { host: string; port: string } {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (host !== undefined && port !== undefined) return { host, port };
  throw new Refusal("state_forbidden", "this is no pod of Kubernetes, so it has no API server for the history", {
    where: "CONTRAST_STATE_STORE",
    got: "no KUBERNETES_SERVICE_HOST or no KUBERNETES_SERVICE_PORT",
    hint: "use CONTRAST_STATE_STORE=file outside Kubernetes",
  });
}

async function namespaceOf(account: string): Promise<string> {
  const file = join(account, "namespace");
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new Refusal("state_forbidden", "the pod's service account can't be read", {
      where: file,
      got: (cause as NodeJS.ErrnoException).code,
      hint: "mount it as the pod of deploy/coordinator.yml does",
      cause,
    });
  }
}
