import { setTimeout as delay } from "node:timers/promises";
import { EXIT } from "../runtime/exit.ts";
import { describeError } from "../runtime/errors.ts";
import { logFailure } from "../runtime/failure.ts";
import { Malformed, type Variable } from "../runtime/environment.ts";
import { type Running, runProgram } from "../runtime/program.ts";
import { oneOf, path } from "../runtime/variables.ts";
import type { HandlerTables } from "./containerd-config.ts";
import { findContainerd } from "./containerd-place.ts";
import { askRuntimes } from "./cri.ts";
import { runcHandler } from "./handler.ts";
import { installHandler, type Node, removeFiles, removeHandler } from "./install.ts";
import { installKata } from "./kata-files.ts";
import { kubernetesApi } from "./kubernetes-api.ts";
import { restartContainerd } from "./restart.ts";

const RUNTIMES = ["runc", "qemu-snp", "qemu-tdx", "qemu-snp-runtime-rs", "qemu-tdx-runtime-rs"] as const;

function named(want: string, pattern: RegExp, help: string): Variable<string> {
  return {
    help,
    unset: "",
    parse(text) {
      if (!pattern.test(text)) throw Malformed.text(text, want);
      return text;
    },
  };
}

const variables = {
  CONTRAST_RUNTIME_CLASS: named(
    "contrast-cc-…",
    /^contrast-cc-[a-z0-9-]{1,51}$/,
    "name of the runtime class, of its handler, and of the node's label",
  ),
  CONTRAST_RUNTIME: oneOf(RUNTIMES, "runc", "what the handler runs: runc, or a shim of kata-deploy"),
  CONTRAST_NODE_NAME: named("a node's name", /^[a-z0-9.-]{1,253}$/, "name of the node"),
  CONTRAST_NODE_ROOT: path("/host", "the node's file system"),
  CONTRAST_DAEMON_SET: named(
    "namespace/name",
    /^[a-z0-9-]{1,63}\/[a-z0-9.-]{1,253}$/,
    "the DaemonSet whose end undoes everything",
  ),
  CONTRAST_GUEST_DIR: path("/opt/contrast/guest", "the folder with the guest image, in this container"),
  CONTRAST_KATA_DIR: path("/opt/kata", "kata-deploy's folder on the node"),
  CONTRAST_CONTAINERD_CONFIG: path(undefined, "containerd's configuration on the node (default: it is looked for)"),
  CONTRAST_CONTAINERD_SOCKET: path(undefined, "containerd's socket on the node (default: it is looked for)"),
} as const;

const ASK_MS = 5_000;
/** Somebody else may write containerd's configuration anew. */
const LOOK_AGAIN_MS = 60_000;

await runProgram(
  {
    name: "node-installer",
    summary: "gives the node's containerd the handler of a runtime class, and takes it away again",
    variables,
    constraints: (["CONTRAST_RUNTIME_CLASS", "CONTRAST_NODE_NAME", "CONTRAST_DAEMON_SET"] as const).map((name) => ({
      about: [name],
      faults: (configuration) => (configuration[name] === "" ? [{ where: name, got: "nothing", want: "it set" }] : []),
    })),
    run,
    commands: {
      installed: {
        help: "exits with 0 if containerd has loaded the handler",
        async run(running) {
          const { handlers } = await nodeOf(running).runtimes();
          return Object.hasOwn(handlers, running.configuration.CONTRAST_RUNTIME_CLASS) ? EXIT.done : EXIT.failed;
        },
      },
    },
  },
  process,
);

async function run(running: Running<typeof variables>): Promise<number> {
  const { configuration, log, stop } = running;
  const handler = configuration.CONTRAST_RUNTIME_CLASS;
  const [namespace = "", daemonSet = ""] = configuration.CONTRAST_DAEMON_SET.split("/");
  const { KUBERNETES_SERVICE_HOST: host = "", KUBERNETES_SERVICE_PORT: port = "" } = process.env;
  const api = kubernetesApi(host, port);
  const label = async (value: string | undefined): Promise<void> =>
    api.label(configuration.CONTRAST_NODE_NAME, `contrast.edgeless.systems/${handler}`, value);
  const node = nodeOf(running);
  let isReady = false;
  while (!stop.aborted) {
    try {
      await installHandler(node, handler, await tablesOf(running, node));
      if (!isReady) await label("true");
      if (!isReady) log.info({ handler, node: configuration.CONTRAST_NODE_NAME }, "the node has the runtime");
      isReady = true;
    } catch (error) {
      // No pod may be sent here.
      await label(undefined).catch((second: unknown) => log.warn({}, describeError(second)));
      logFailure(log, error);
      return EXIT.failed;
    }
    await delay(LOOK_AGAIN_MS, undefined, { signal: stop }).catch(() => {});
  }
  if (await api.isWanted(namespace, daemonSet)) return EXIT.done;
  log.info({ handler }, "the DaemonSet is gone: undoing everything");
  await label(undefined).catch((error: unknown) => log.warn({}, describeError(error)));
  await removeHandler(node, handler);
  await removeFiles(node, handler);
  log.info({ handler }, "the node is as it was before");
  return EXIT.done;
}

function nodeOf({ configuration, log }: Running<typeof variables>): Node {
  const root = configuration.CONTRAST_NODE_ROOT;
  const place = findContainerd(root, {
    config: configuration.CONTRAST_CONTAINERD_CONFIG,
    socket: configuration.CONTRAST_CONTAINERD_SOCKET,
  });
  return {
    root,
    place,
    restart: async () => restartContainerd(root, place),
    runtimes: async () => askRuntimes(`${root}${place.socket}`, ASK_MS, () => Date.now()),
    sleep: async (ms) => delay(ms),
    log,
  };
}

async function tablesOf({ configuration }: Running<typeof variables>, node: Node): Promise<HandlerTables> {
  const handler = configuration.CONTRAST_RUNTIME_CLASS;
  if (configuration.CONTRAST_RUNTIME === "runc") {
    const { handlers } = await node.runtimes();
    return runcHandler(handler, handlers["runc"] ?? {});
  }
  return installKata(configuration.CONTRAST_NODE_ROOT, handler, {
    kata: configuration.CONTRAST_KATA_DIR,
    shim: configuration.CONTRAST_RUNTIME,
    guest: configuration.CONTRAST_GUEST_DIR,
  });
}
