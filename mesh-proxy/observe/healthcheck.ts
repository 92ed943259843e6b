import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Environment, withoutServiceLinks } from "../../runtime/environment.ts";
import { parsePort } from "../../runtime/variables.ts";
import { healthSocket } from "./health-socket.ts";

/**
 * `mesh-proxy healthcheck`, for exec probes: asks the admin port whether the proxy is ready, or where there is none the
 * proxy's own socket. A probe runs every few seconds, so that this loads nothing of the proxy, and speaks the three words
 * of HTTP it needs by itself.
 */

const TIMEOUT_MS = 2_000;

/** Of `healthcheck wait`: a minute, where the proxy refuses at once. */
const ATTEMPTS = 240;
const PAUSE_MS = 250;

/** More than the answer; whoever listens there instead may send anything. */
const MOST_BYTES = 1_024;

export interface Health {
  /** 0 ready, 1 not ready, 2 it can't be asked. */
  readonly code: 0 | 1 | 2;
  readonly text: string;
}

/** @param environment that of the proxy */
export async function healthcheck(environment: Environment): Promise<Health> {
  const { CONTRAST_ADMIN_PORT: variable } = withoutServiceLinks(environment);
  if (variable === undefined || variable === "") return askSocket(healthSocket(environment));
  const port = parsePort(variable);
  if (port === undefined) {
    return { code: 2, text: "set CONTRAST_ADMIN_PORT to the port that the proxy has as its admin port, 1 to 65535" };
  }
  try {
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(await ask(port))?.[1];
    if (status === "200") return { code: 0, text: "ready" };
    return { code: 1, text: status === "503" ? "not ready" : `port ${port} is not the admin port of a mesh proxy` };
  } catch (error) {
    return { code: 1, text: `no answer from port ${port}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** `mesh-proxy healthcheck wait`, for a hook that holds up what is to start after the proxy. */
export async function waitUntilReady(environment: Environment): Promise<Health> {
  for (let attempt = 1; ; attempt++) {
    const health = await healthcheck(environment);
    if (health.code !== 1 || attempt === ATTEMPTS) return health;
    await sleep(PAUSE_MS);
  }
}

/** Whoever is not ready does not listen. */
async function askSocket(path: string): Promise<Health> {
  try {
    await answerOf(connect({ path }));
    return { code: 0, text: "ready" };
  } catch {
    return { code: 1, text: "not ready" };
  }
}

async function ask(port: number): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.write("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  return answerOf(socket);
}

/** @returns the beginning of the answer */
async function answerOf(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error(`nothing for ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  let answer = "";
  socket.setEncoding("latin1").on("error", reject);
  socket.on("data", (text: string) => {
    answer += text;
    if (answer.length > MOST_BYTES) resolve(answer);
  });
  socket.on("end", () => resolve(answer));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}
