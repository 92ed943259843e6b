import fc, { type Arbitrary } from "fast-check";
import { once } from "node:events";
import { closeSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { isMainThread, Worker } from "node:worker_threads";
import {
  type EngineAddon,
  type EngineSettings,
  loadAddon,
  type NativeEngine,
} from "../../../mesh-proxy/native/addon.ts";

/**
 * A program that calls the engine as nobody should: `caller.ts calls RESULT_FILE CREDENTIALS_JSON`, `caller.ts exit`,
 * `caller.ts worker`, `caller.ts fault`. A fault of the engine ends the process, and whoever started it sees that.
 */

const HOST = "127.181.1.1";
const addon = loadAddon();

const SETTINGS: EngineSettings = {
  threads: 2,
  ingressConnections: 100,
  ingressConnectionsOfSource: 100,
  egressConnections: 100,
  handshakes: 10,
  handshakesOfSource: 10,
  heldBytes: 2 ** 24,
  heldBytesOfSource: 2 ** 22,
  descriptors: 1_000,
  handshakeMs: 1_000,
  upstreamMs: 1_000,
  stalledMs: 1_000,
  hasAccessLog: true,
  resumes: true,
};

const OPENING = {
  address: `${HOST}:0`,
  tls: "mutual",
  isEgress: false,
  host: "web.example",
  target: `${HOST}:1`,
  original: undefined,
  fd: undefined,
  pinnedSan: "web",
  ports: [{ port: 80, settings: { rule: 1, allowedSans: ["web"], proxyProtocol: true } }],
  otherwise: { rule: 0, proxyProtocol: false },
};

const numbers = fc.constantFrom(
  NaN,
  -0,
  -1,
  0.5,
  65_536,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  2 ** 64,
  1e300,
  Infinity,
  -Infinity,
);
const texts = fc.constantFrom(
  "",
  "\0",
  "web\0",
  "\ud800",
  "127.0.0.1",
  "[::1]:0",
  "127.0.0.1:65536",
  "x".repeat(70_000),
);
const traps = fc
  .constantFrom<() => unknown>(
    () =>
      new Proxy(
        {},
        {
          get: () => {
            throw new RangeError("a trap");
          },
        },
      ),
    () =>
      Object.defineProperty([], "0", {
        get: () => {
          throw new RangeError("a trap");
        },
      }),
    () => {
      const ring: unknown[] = [];
      ring.push(ring);
      return ring;
    },
    () => new Uint8Array(new SharedArrayBuffer(8)),
    () => Symbol("s"),
    () => () => 1,
    () => new ArrayBuffer(0),
  )
  .map((make) => make());
const anything = fc.oneof(
  numbers,
  texts,
  traps,
  fc.anything({
    withBigInt: true,
    withDate: true,
    withTypedArray: true,
    withSparseArray: true,
    withNullPrototype: true,
  }),
);

/** The value, or what looks like it, or something else altogether. */
function like(value: unknown): Arbitrary<unknown> {
  const other = { arbitrary: anything, weight: 1 };
  if (Array.isArray(value))
    return fc.oneof({ arbitrary: fc.array(like(value[0]), { maxLength: 4 }), weight: 8 }, other);
  if (typeof value === "object" && value !== null && !Buffer.isBuffer(value)) {
    const fields = Object.fromEntries(Object.entries(value).map(([name, field]) => [name, like(field)]));
    return fc.oneof(
      { arbitrary: fc.record(fields, { requiredKeys: [] }), weight: 1 },
      { arbitrary: fc.record(fields), weight: 12 },
      other,
    );
  }
  return fc.oneof({ arbitrary: fc.constant(value), weight: 15 }, other);
}

interface Call {
  readonly method: keyof NativeEngine;
  readonly args: readonly unknown[];
  /** On something that is no engine. */
  readonly isMisplaced: boolean;
}

function callOf(credentials: object): Arbitrary<Call> {
  const of = (method: keyof NativeEngine, ...args: readonly unknown[]): Arbitrary<Call> =>
    fc.record({
      method: fc.constant(method),
      args: fc.tuple(...args.map(like)),
      isMisplaced: fc.nat(50).map((n) => n === 0),
    });
  return fc.oneof(
    of("setCredentials", credentials),
    of("open", OPENING),
    of("open", { ...OPENING, address: undefined, fd: 3, tls: "none", isEgress: true }),
    of("open", { ...OPENING, target: undefined, original: { own: [1], only: [2] } }),
    of("setAddresses", 0, [`${HOST}:1`], undefined),
    of("stop", 0),
    of("shed", 1),
    of("resetAll"),
    of("takeEvents"),
    of("counts"),
    of("used"),
    fc.nat(20).chain((n) => of(n === 0 ? "exit" : "used")),
  );
}

const told = { accepted: 0, refused: 0 };

function attempt(act: () => unknown): unknown {
  try {
    const answer = act();
    told.accepted++;
    return answer;
  } catch (error) {
    if (!(error instanceof Error)) throw new Error("what the engine throws is no error", { cause: error });
    told.refused++;
    return undefined;
  }
}

function calls(resultFile: string, credentials: Readonly<Record<string, string>>): void {
  const { certChain = "", key = "", meshCa = "" } = credentials;
  const set = { certChain: Buffer.from(certChain), key: Buffer.from(key), meshCa: Buffer.from(meshCa), allows12: true };
  const create = (...args: readonly unknown[]): NativeEngine =>
    Reflect.apply(Reflect.get(addon, "create") as () => NativeEngine, undefined, args);
  const run = fc.property(like(SETTINGS), fc.array(callOf(set), { maxLength: 30 }), (settings, list) => {
    const started = attempt(() => create(settings, () => {})) as NativeEngine | undefined;
    const engine = started ?? create(SETTINGS, () => {});
    for (const { method, args, isMisplaced } of list) {
      attempt(() => Reflect.apply(Reflect.get(engine, method) as () => unknown, isMisplaced ? {} : engine, args));
    }
    engine.exit();
  });
  fc.assert(run, { numRuns: 4_000 });
  attempt(() => create());
  attempt(() => create(SETTINGS, "no function"));
  attempt(() => Reflect.construct(Reflect.get(addon, "NativeEngine") as new () => unknown, []));
  attempt(() =>
    create(SETTINGS, () => {}).open({
      ...OPENING,
      get host(): string {
        throw new Error("a trap");
      },
    } as never),
  );
  writeFileSync(resultFile, JSON.stringify(told));
  process.exit(0);
}

/** An engine that has something to do all the time. */
async function busy(engines: EngineAddon): Promise<void> {
  const engine: NativeEngine = engines.create(SETTINGS, () => void engine.takeEvents());
  const server = createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(0, HOST);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const { address = "" } = engine.open({
    address: `${HOST}:0`,
    tls: "none",
    isEgress: false,
    host: "",
    target: `${HOST}:${port}`,
    ports: [],
    otherwise: { rule: 0, proxyProtocol: false },
  });
  const again = (): void => {
    const socket = connect(Number(address.split(":")[1]), HOST).on("error", () => {});
    socket.end("hello").resume().once("close", again);
  };
  for (let clients = 0; clients < 8; clients++) again();
  await sleep(300);
}

/** The descriptors of epoll instances. */
function pollers(): number[] {
  const isPoller = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventpoll]";
    } catch {
      return false;
    }
  };
  return readdirSync("/proc/self/fd").filter(isPoller).map(Number);
}

/** Takes away what the threads of the engine wait with. */
async function breakEngine(): Promise<void> {
  const before = pollers();
  const engine = addon.create(SETTINGS, () => {});
  for (const fd of pollers()) if (!before.includes(fd)) closeSync(fd);
  engine.resetAll();
  await sleep(20_000);
}

const [, , mode, resultFile = "", credentials = ""] = process.argv;
if (!isMainThread) {
  await busy(addon);
  process.exit();
} else if (mode === "calls") {
  calls(resultFile, JSON.parse(credentials) as Record<string, string>);
} else if (mode === "fault") {
  await breakEngine();
} else if (mode === "exit") {
  await busy(addon);
  process.exit(7);
} else {
  for (let times = 0; times < 3; times++) {
    const worker = new Worker(new URL(import.meta.url));
    await once(worker, "exit");
  }
  await busy(addon);
  process.exit(7);
}
