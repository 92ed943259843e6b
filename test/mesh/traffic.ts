import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { readAll } from "../mesh-proxies.ts";

/** Clients of an application that echoes: each connects, has its bytes back, ends, and connects again. */
export interface Traffic {
  readonly done: () => number;
  /** What went wrong with connections, which go on all the same. */
  readonly faults: readonly string[];
  /** No new connections; resolves when those that are open have ended. */
  readonly stop: () => Promise<void>;
}

export function startTraffic(clients: number, connect: () => Socket): Traffic {
  const bytes = randomBytes(100_000);
  const faults: string[] = [];
  let done = 0;
  const stop = new AbortController();
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      try {
        const socket = connect();
        socket.end(bytes);
        if (!bytes.equals(await readAll(socket))) faults.push("other bytes came back");
      } catch (error) {
        faults.push((error as NodeJS.ErrnoException).code ?? String(error));
      }
      done++;
    }
  };
  const running = Promise.all(Array.from({ length: clients }, run));
  return {
    done: () => done,
    faults,
    stop: async () => {
      stop.abort();
      await running;
    },
  };
}

/** Sends a little and has it back: the connection stands all the way. */
export async function ping(socket: Socket): Promise<void> {
  socket.write("ping");
  const [answer] = (await once(socket, "data")) as [Buffer];
  if (String(answer) !== "ping") throw new Error(`no ping: ${String(answer)}`);
}
