import { parentPort, workerData } from "node:worker_threads";
import { createLogger } from "../../runtime/log.ts";
import { CurrentCredentials } from "../current-credentials.ts";
import { createDataPath, carryFast } from "../data-path.ts";
import { ACCEPTING, type Beginning, fromClone, type Message, type Request } from "./messages.ts";

/**
 * A thread beside the main one, with the same data path. It does what the main thread tells it, which reads the
 * configuration and the certificates, gets the signals and has the admin port.
 */
const { configuration, credentials: clone, share, sockets, log: logOptions } = workerData as Beginning;
const log = createLogger(logOptions);
const credentials = new CurrentCredentials(fromClone(clone));
const { routes, watch, proxy } = createDataPath(configuration, {
  credentials,
  share,
  log,
  now: () => new Date(),
  clock: () => performance.now(),
});
await carryFast();
await proxy.open(
  routes.map((route, index) => {
    const fd = sockets[index];
    return fd === undefined ? route : { ...route, at: { ...route.at, fd } };
  }),
);
const atOnce = new AbortController();

async function perform(request: Request): Promise<unknown> {
  switch (request.do) {
    case "use":
      return credentials.replace(fromClone(request.credentials));
    case "count":
      return watch.metrics.counted();
    case "stop ingress":
      return proxy.stopIngress();
    case "close": {
      const isDrained = await proxy.close(request.graceMs, atOnce.signal);
      await watch.accessLog?.close();
      return isDrained;
    }
    case "close at once":
      return atOnce.abort();
  }
}

// A fault is not caught: it ends the thread, and so the process.
parentPort?.on("message", ({ request, answer }: Message) => {
  void perform(request).then((result) => answer.postMessage(result));
});
parentPort?.postMessage(ACCEPTING);
