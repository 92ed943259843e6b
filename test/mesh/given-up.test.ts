import { once } from "node:events";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { beforeAll, describe, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  connectPlain,
  connectSecurely,
  freePort,
  readAll,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../mesh-proxies.ts";
import { startProxyProgram } from "./proxy-program.ts";

/** Clients that give up before they are answered, by an application that reads what they say and says nothing itself. */

const INGRESS = "127.77.13.1";
const APPLICATION = "127.77.13.2";
const EGRESS = "127.77.13.3";
const LIMIT = 10;

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue({ sans: ["server"] });
});

const WAYS = ["mutual TLS", "TLS", "passed through", "egress"] as const;
type Way = (typeof WAYS)[number];

/** The ways to one application, which answers those that ask it to. */
interface Ways {
  readonly connect: (way: Way) => Promise<Peer>;
  readonly ingress: StartedProxy;
  readonly egress: StartedProxy;
  /** How many connections the application has got something from, and the end of. */
  readonly heard: () => number;
  readonly ended: () => number;
}

interface Peer {
  readonly stream: Socket | TLSSocket;
  readonly reset: () => void;
}

/** Longer than two looks of the proxy at connections whose peer may be gone. */
const LATER_MS = 5_000;

/** It never ends a connection by itself. */
function application(socket: Socket): void {
  socket.on("data", (bytes) => {
    if (String(bytes) === "answer me") socket.end("answer");
    if (String(bytes) === "answer me later") setTimeout(() => socket.end("answer"), LATER_MS);
  });
}

async function startWays(): Promise<Ways> {
  let [heard, ended] = [0, 0];
  const port = async (): Promise<number> =>
    startServer(APPLICATION, (socket) => {
      socket.once("data", () => heard++).once("end", () => ended++);
      application(socket);
    });
  const ports = { "mutual TLS": await port(), TLS: await port(), "passed through": await port() };
  const ingress = await startLiveProxy(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `open#${ports.TLS}#false##passed#${ports["passed through"]}#true`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: INGRESS,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${ports["mutual TLS"]}`,
    CONTRAST_MAX_INGRESS_CONNECTIONS: `${LIMIT}`,
    CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: `${LIMIT}`,
  });
  const listener = await freePort(EGRESS);
  const egress = await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${EGRESS}:${listener}#${INGRESS}:${ports["mutual TLS"]}#server`,
    CONTRAST_MAX_EGRESS_CONNECTIONS: `${LIMIT}`,
  });
  const connect = async (way: Way): Promise<Peer> => {
    const to = way === "egress" ? { host: EGRESS, port: listener } : { host: INGRESS, port: ports[way] };
    const transport = connectPlain(to.host, to.port);
    await once(transport, "connect");
    const reset = (): void => void transport.resetAndDestroy();
    if (way === "egress" || way === "passed through") return { stream: transport, reset };
    const stream = connectSecurely(mesh, way === "TLS" ? undefined : workload, { socket: transport });
    await once(stream, "secureConnect");
    return { stream, reset };
  };
  return { connect, ingress, egress, heard: () => heard, ended: () => ended };
}

const open = ({ ingress, egress }: Ways): number[] => [
  ingress.telemetry.admission.ingress.inside,
  egress.telemetry.admission.mostEgress,
];

describe.each(WAYS)("by way of %s", (way) => {
  test("clients that are gone after they have ended their direction give their places free", async () => {
    const ways = await startWays();
    const peers = await Promise.all(Array.from({ length: LIMIT }, async () => ways.connect(way)));
    for (const { stream } of peers) stream.write("request");
    await expect.poll(() => ways.heard()).toBe(LIMIT);
    for (const { stream } of peers) {
      stream.end();
      await once(stream, "finish");
    }
    await expect.poll(() => ways.ended()).toBe(LIMIT);
    for (const { reset } of peers) reset();
    await expect.poll(() => open(ways), { timeout: 10_000 }).toEqual([0, 0]);
    const { stream } = await ways.connect(way);
    stream.write("answer me");
    expect(String(await readAll(stream))).toBe("answer");
  });
});

test("clients that have ended their direction, and are there, are answered much later", async () => {
  const ways = await startWays();
  const answers = WAYS.map(async (way) => {
    const { stream } = await ways.connect(way);
    stream.end("answer me later");
    return String(await readAll(stream));
  });
  expect(await Promise.all(answers)).toEqual(WAYS.map(() => "answer"));
});

test("a proxy whose clients are gone ends as soon as it is told to", async () => {
  const port = await startServer(APPLICATION, application);
  const program = await startProxyProgram(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `open#${port}#false`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: INGRESS,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${await freePort(INGRESS)}`,
    CONTRAST_DRAIN_TIMEOUT: "1m",
  });
  for (let i = 0; i < LIMIT; i++) {
    const transport = connectPlain(INGRESS, port);
    const stream = connectSecurely(mesh, undefined, { socket: transport });
    await once(stream, "secureConnect");
    stream.end("request");
    await once(stream, "finish");
    transport.resetAndDestroy();
  }
  program.child.kill("SIGTERM");
  // It would have been a minute, and 1.
  expect(await program.exited).toBe(0);
});
