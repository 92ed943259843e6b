import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { PORT } from "./kinds.ts";

/** What is sent through the proxies, and what comes of it. The kinds of connection are those of backend.ts. */

const BLOCK = Buffer.alloc(256 * 1024, "x");

export async function open(host: string): Promise<Socket> {
  const socket = quiet(connect({ host, port: PORT, noDelay: true, allowHalfOpen: true }));
  await once(socket, "connect");
  return socket;
}

/** An error that nobody waits for at the moment ends no process: who waits for data will see that none comes. */
function quiet(socket: Socket): Socket {
  return socket.on("error", () => {});
}

/** Sends so many bytes, and waits until the application says that it has them all. */
export async function sendUp(host: string, bytes: number): Promise<void> {
  const socket = await open(host);
  let left = bytes;
  socket.write(`U${bytes}\n`);
  const send = (): void => {
    while (left > 0) {
      const block = BLOCK.subarray(0, left);
      left -= block.length;
      if (!socket.write(block)) return;
    }
  };
  socket.on("drain", send);
  send();
  let answer = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) answer += String(chunk);
  if (answer !== "done") throw new Error(`sent ${bytes} bytes, and not all arrived`);
  socket.end();
}

export async function fetchDown(host: string, bytes: number): Promise<void> {
  let received = 0;
  const callback = (count: number): boolean => {
    received += count;
    return true;
  };
  const socket = quiet(connect({ host, port: PORT, noDelay: true, onread: { buffer: BLOCK_IN, callback } }));
  socket.write(`D${bytes}\n`);
  await once(socket, "close");
  if (received !== bytes) throw new Error(`asked for ${bytes} bytes, and got ${received}`);
}

const BLOCK_IN = Buffer.alloc(256 * 1024);

/** Connections one after the other, in so many lines, for so long: each is opened, echoes a byte, and is closed. */
export async function connections(host: string, lines: number, ms: number): Promise<number> {
  const end = performance.now() + ms;
  let count = 0;
  const line = async (): Promise<void> => {
    while (performance.now() < end) {
      const socket = quiet(connect({ host, port: PORT, noDelay: true }));
      socket.write("E");
      await once(socket, "data");
      socket.end();
      await once(socket, "close");
      count++;
    }
  };
  await Promise.all(Array.from({ length: lines }, line));
  return count;
}

export interface Latencies {
  readonly p50: number;
  readonly p99: number;
}

/** wrk over so many kept connections. Milliseconds. */
export async function wrk(host: string, lines: number, seconds: number): Promise<Latencies & { rate: number }> {
  const args = ["-t1", `-c${lines}`, `-d${seconds}s`, "--latency", `http://${host}:${PORT}/`];
  const { stdout } = await promisify(execFile)("wrk", args);
  if (/Socket errors|Non-2xx/.test(stdout)) throw new Error(`wrk failed: ${stdout}`);
  const percentile = (of: string): number => {
    const [, value, unit = ""] = new RegExp(`${of}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout) ?? [];
    return Number(value) * ({ us: 0.001, ms: 1, s: 1000 }[unit] ?? NaN);
  };
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]), p50: percentile("50"), p99: percentile("99") };
}

/** Requests at a fixed rate, whether or not the ones before were answered. Milliseconds from sending to the answer. */
export async function fixedRate(sockets: readonly Socket[], rate: number, ms: number): Promise<Latencies> {
  const latencies: number[] = [];
  const lines = sockets.map((socket) => {
    const sent: number[] = [];
    socket.on("data", (chunk: Buffer) => {
      const now = performance.now();
      for (let at = chunk.indexOf("HTTP"); at !== -1; at = chunk.indexOf("HTTP", at + 4)) {
        latencies.push(now - (sent.shift() ?? NaN));
      }
    });
    return { socket, sent };
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  const begin = performance.now();
  let count = 0;
  const tick = (): void => {
    const now = performance.now() - begin;
    for (; count < (Math.min(now, ms) * rate) / 1000; count++) {
      const line = lines[count % lines.length];
      line?.sent.push(performance.now());
      line?.socket.write("GET / HTTP/1.1\r\nHost: bench\r\n\r\n");
    }
    if (now > ms + 50) resolve();
    else setTimeout(tick, 1);
  };
  tick();
  await promise;
  if (latencies.length === 0) throw new Error("no request was answered");
  // The first tenth warms up.
  const sorted = latencies.slice(latencies.length / 10).sort((a, b) => a - b);
  const percentile = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? NaN;
  return { p50: percentile(0.5), p99: percentile(0.99) };
}

const AT_A_TIME = 16;

export const HELLO = "GET / HTTP/1.1\r\n\r\n";

/** Opens connections, each of which gets an answer to its first words, and closes them when `during` is over. */
export async function hold<T>(
  host: string,
  count: number,
  first: "E" | typeof HELLO,
  during: (sockets: readonly Socket[]) => Promise<T>,
): Promise<T> {
  const sockets: Socket[] = [];
  let left = count;
  const line = async (): Promise<void> => {
    while (left-- > 0) sockets.push(await answered(host, first));
  };
  try {
    await Promise.all(Array.from({ length: Math.min(AT_A_TIME, count) }, line));
    await sleep(500);
    return await during(sockets);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

async function answered(host: string, first: string): Promise<Socket> {
  const socket = await open(host);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const cut = (): void => reject(new Error("a proxy closed a connection that was to be held"));
  socket.once("data", () => resolve()).once("close", cut);
  socket.write(first);
  await promise;
  socket.off("close", cut);
  return socket;
}
