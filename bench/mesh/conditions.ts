import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import { connections } from "./loads.ts";
import { PORT } from "./kinds.ts";
import type { Contestant, StartedPair } from "./proxies.ts";
import { readServerHello, type ServerHello } from "./server-hello.ts";

/**
 * Whether all do the same: seen from between the two proxies, where the handshakes pass, and by a client and an upstream
 * that are to be refused.
 */
export interface Conditions {
  /** Version, cipher and group; more than one where connections differ. */
  readonly tls: string;
  /** The share of connections that resume a session, of those where they are to, and of those where they are not to. */
  readonly resumed: number;
  readonly resumedInFull: number;
  readonly requiresCertificate: boolean;
  /** Of the upstream. */
  readonly requiresName: boolean;
}

const RELAY = "127.76.0.3";
const LINES = 16;
const MS = 1_500;

export async function lookAt(contestant: Contestant): Promise<Conditions> {
  const resuming = await handshakes(contestant, true);
  const full = await handshakes(contestant, false);
  return {
    tls: [
      ...new Set([...resuming, ...full].map(({ version, cipher, group }) => `${version}, ${cipher}, ${group}`)),
    ].join("; "),
    resumed: share(resuming),
    resumedInFull: share(full),
    requiresCertificate: await during(
      contestant,
      {},
      async ({ ingress }) => !(await isServedWithoutCertificate(ingress)),
    ),
    requiresName: await during(
      contestant,
      { name: "another" },
      async ({ host }) => !(await isServed(connect({ host, port: PORT }))),
    ),
  };
}

function share(hellos: readonly ServerHello[]): number {
  return hellos.filter(({ isResumed }) => isResumed).length / hellos.length;
}

async function handshakes(contestant: Contestant, isResuming: boolean): Promise<ServerHello[]> {
  let to: string | undefined;
  const hellos: ServerHello[] = [];
  const relay = createServer({ allowHalfOpen: true, noDelay: true }, (before) => {
    const behind = connect({ host: to ?? "", port: PORT, noDelay: true, allowHalfOpen: true });
    let seen: Buffer | undefined = Buffer.alloc(0);
    behind.on("data", (bytes: Buffer) => {
      if (seen === undefined) return;
      seen = Buffer.concat([seen, bytes]);
      const hello = readServerHello(seen);
      if (hello === undefined) return;
      hellos.push(hello);
      seen = undefined;
    });
    for (const socket of [before, behind]) socket.on("error", () => (before.destroy(), behind.destroy()));
    before.pipe(behind);
    behind.pipe(before);
  });
  relay.listen(PORT, RELAY);
  await once(relay, "listening");
  try {
    return await during(contestant, { isResuming, relay: RELAY }, async ({ host, ingress }) => {
      to = ingress;
      await connections(host, LINES, MS);
      // The first ones have nothing to resume.
      return hellos.slice(hellos.length / 2);
    });
  } finally {
    relay.close();
  }
}

async function during<T>(
  contestant: Contestant,
  options: { isResuming?: boolean; name?: string; relay?: string },
  act: (pair: StartedPair) => Promise<T>,
): Promise<T> {
  const pair = await contestant.start({ isResuming: true, ...options });
  try {
    return await act(pair);
  } finally {
    await Promise.all(pair.processes.map(async (one) => one.stop()));
  }
}

async function isServedWithoutCertificate(host: string): Promise<boolean> {
  // Whom it talks to is none of the question.
  return isServed(connectTls({ host, port: PORT, rejectUnauthorized: false }));
}

async function isServed(socket: Socket): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.on("error", () => resolve(false)).on("close", () => resolve(false));
  socket.on("data", () => resolve(true));
  socket.write("E");
  const isEchoed = await Promise.race([promise, sleep(5_000, false, { ref: false })]);
  socket.destroy();
  return isEchoed;
}
