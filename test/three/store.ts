import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomBytes } from "node:crypto";
import { parseLatestInsecure } from "../../coordinator/state/pointer.ts";
import { KubernetesStore, type KubernetesStoreOptions } from "../../store/kubernetes/kubernetes-store.ts";
import { makeAccount, programOptions } from "../kubernetes-api/accounts.ts";
import { NO_KUBERNETES_API, startKubernetesApi } from "../kubernetes-api/server.ts";
import { mountSmall, unmount } from "./small-disk.ts";
import { STORE } from "./network.ts";
import { prepareSmallStore } from "./small-store.ts";

/** What three Coordinators share: a real etcd and kube-apiserver, or the small store where those are missing. */
export interface SharedStore {
  readonly what: string;
  readonly access: (number: number) => {
    readonly within: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
  };
  /** The moves of the pointer, oldest first. */
  readonly moves: () => Promise<readonly Move[]>;
  /** Its parts, each a program that ends, or stands still. The last one is asked by Coordinators. */
  readonly parts: readonly Part[];
  /** Fills its disk, and makes room again. */
  readonly fill: () => void;
  readonly empty: () => void;
  /** Its programs that have ended run again. */
  readonly heal: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface Part {
  readonly name: string;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
  readonly pause: () => void;
  readonly resume: () => void;
}

export interface Move {
  readonly sequence: number;
  readonly transition: string;
  /** SHA-256 of the mesh CA's SubjectPublicKeyInfo, hex. */
  readonly meshKey: string | undefined;
}

const PORT = 6443;
const NAMESPACE = "contrast";

/** How often, and how long, the API server is asked whether it is well, before its programs begin again. */
const LOOKS = 3;
const LOOK_MS = 2000;

/** @param small even where the real one can be had */
export async function openSharedStore(directory: string, small: boolean): Promise<SharedStore> {
  return small || NO_KUBERNETES_API !== undefined ? openSmall(directory) : openKubernetes(directory);
}

async function openKubernetes(directory: string): Promise<SharedStore> {
  const folder = join(directory, "api");
  const disk = join(folder, "etcd");
  // Two files of 64 MiB are etcd's own before it has any data.
  mountSmall(disk, "256m");
  const api = await startKubernetesApi({ folder, address: STORE });
  const account = await makeAccount(api, NAMESPACE);
  const parts = [
    { name: "etcd", service: api.etcd },
    ...api.servers.map((service) => ({ name: "kube-apiserver", service })),
  ].map(({ name, service }): Part => ({
    name,
    start: () => service.start(),
    stop: () => service.stop(),
    pause: () => service.pause(),
    resume: () => service.resume(),
  }));
  return {
    what: "etcd and kube-apiserver",
    access: () => programOptions(api, account),
    moves: () => movesOf({ place: { host: STORE, port: api.port, account: account.folder }, ...AROUND }),
    parts,
    ...diskOf(disk),
    heal: async () => {
      for (const part of parts) part.resume();
      const path = `/api/v1/namespaces/${NAMESPACE}/configmaps/coordinator-latest`;
      for (let look = 0; look < LOOKS; look++) {
        const answer = api.admin("GET", path).catch(() => undefined);
        const found = await Promise.race([answer, sleep(LOOK_MS, undefined)]);
        if (found?.status === 200) return;
      }
      for (const part of parts) await part.stop();
      for (const part of parts) await part.start();
    },
    close: async () => {
      await api.close();
      unmount(disk);
    },
  };
}

async function openSmall(directory: string): Promise<SharedStore> {
  const folder = join(directory, "small-store");
  mountSmall(join(folder, "data"), "32m");
  const token = prepareSmallStore(folder, STORE);
  const account = join(folder, "account");
  mkdirSync(account);
  copyFileSync(join(folder, "server.crt"), join(account, "ca.crt"));
  writeFileSync(join(account, "token"), token);
  writeFileSync(join(account, "namespace"), NAMESPACE);
  let child: ChildProcess | undefined;
  const part: Part = {
    name: "store",
    start: async () => {
      const args = [join(import.meta.dirname, "small-store.ts"), folder, STORE, `${PORT}`];
      const started = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
      child = started;
      await once(started.stdout, "data");
    },
    stop: async () => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGCONT");
      child.kill("SIGKILL");
      await once(child, "exit");
    },
    pause: () => child?.kill("SIGSTOP"),
    resume: () => child?.kill("SIGCONT"),
  };
  await part.start();
  return {
    what: "the small store",
    access: () => programOptions({ address: STORE, port: `${PORT}` }, { folder: account }),
    moves: () => movesOf({ place: { host: STORE, port: `${PORT}`, account }, ...AROUND }),
    parts: [part],
    ...diskOf(join(folder, "data")),
    heal: async () => {
      part.resume();
      if (child?.exitCode === null && child.signalCode === null) return;
      await part.start();
    },
    close: async () => {
      await part.stop();
      unmount(join(folder, "data"));
    },
  };
}

const AROUND = {
  monotonic: () => performance.now(),
  namespace: NAMESPACE,
  name: "coordinator",
  random: randomBytes,
  sleep: (ms: number) => sleep(ms),
} as const;

/** By the chain that pointers make, as the store has it. */
async function movesOf(options: KubernetesStoreOptions): Promise<readonly Move[]> {
  const store = await KubernetesStore.open(options);
  try {
    const moves: Move[] = [];
    let raw = await store.latest();
    while (raw !== undefined) {
      const { sequence, transition, meshKey, previous } = parseLatestInsecure(raw, "latest");
      moves.unshift({ sequence, transition, meshKey });
      raw = previous === undefined ? undefined : await store.get("pointers", previous);
    }
    return moves;
  } finally {
    store.close();
  }
}

function diskOf(disk: string): Pick<SharedStore, "fill" | "empty"> {
  const filler = join(disk, "filler");
  return {
    fill: () => {
      try {
        execFileSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=256k", "status=none"], { stdio: "pipe" });
      } catch {
        // That is how it ends.
      }
    },
    empty: () => {
      if (existsSync(filler)) rmSync(filler);
    },
  };
}
