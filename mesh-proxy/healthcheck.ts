import { connect } from "node:net";
import { parsePort } from "../runtime/variables.ts";

/**
 * `mesh-proxy healthcheck`, for exec probes: asks the admin port whether the proxy is ready. A probe runs every few
 * seconds, so that this loads nothing of the proxy, and speaks the three words of HTTP it needs by itself.
 */

const TIMEOUT_MS = 2_000;

/** More than the answer; whoever listens there instead may send anything. */
const MOST_BYTES = 1_024;

export interface Health {
  /** 0 ready, 1 not ready, 2 it can't be asked. */
  readonly code: 0 | 1 | 2;
  readonly text: string;
}

/** @param variable the value of CONTRAST_ADMIN_PORT */
export async function healthcheck(variable: string | undefined): Promise<Health> {
  const port = parsePort(variable ?? "");
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

/** @returns the beginning of the answer */
async function ask(port: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: "127.0.0.1", port });
  const timer = setTimeout(() => reject(new Error(`nothing for ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  let answer = "";
  socket.setEncoding("latin1").on("error", reject);
  socket.on("data", (text: string) => {
    answer += text;
    if (answer.length > MOST_BYTES) resolve(answer);
  });
  socket.on("end", () => resolve(answer));
  socket.write("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}
