import { connect as connectTcp, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { costlyChain, ecKey, longestChain, rsaKey } from "../../costly-chains.ts";
import { clientHello } from "../../client-hello.ts";
import { CONTENT, recordWriter } from "./traffic-secret.ts";

/**
 * A program that attacks a mesh proxy of a test: `attacker.ts <JSON of Orders>`. It says "attacking" when it has begun, and
 * goes on until it is ended, or until its time is over.
 */
export interface Orders {
  readonly attack: keyof typeof ATTACKS;
  readonly host: string;
  readonly port: number;
  /** Addresses to come from, in turn. */
  readonly sources: readonly string[];
  /** Connections at once. */
  readonly count: number;
  /** Without TLS, where the proxy passes through. */
  readonly isPlain?: boolean;
  /** Where to be the application, for attacks that need one. */
  readonly application?: { readonly host: string; readonly port: number };
}

const MOST_MS = 60_000;

const orders = JSON.parse(process.argv[2] ?? "") as Orders;
setTimeout(() => process.exit(0), MOST_MS).unref();

let next = 0;

function transport(): Socket {
  const { host, port, sources } = orders;
  const localAddress = sources[next++ % sources.length] ?? "127.0.0.1";
  return connectTcp({ host, port, localAddress }).on("error", () => {});
}

function secure(options: { cert?: string; key?: string; maxVersion?: "TLSv1.2" } = {}): TLSSocket {
  const socket = connectTls({ socket: transport(), rejectUnauthorized: false, ...options });
  return socket.on("error", () => {});
}

function client(): Socket {
  return orders.isPlain === true ? transport() : secure();
}

/** Has so many connections at a time, and another one for each that ends. */
function keepUp(open: () => Socket): void {
  const one = (): void => {
    open().once("close", () => setTimeout(one, 20));
  };
  for (let i = 0; i < orders.count; i++) one();
}

/** Serves without end whoever says anything, or takes nothing. */
function application(serve: (socket: Socket) => void): void {
  const { application: at } = orders;
  if (at === undefined) throw new Error("this attack needs an application");
  createServer((socket) => serve(socket.on("error", () => {}))).listen(at.port, at.host);
}

const ENDLESS = Buffer.alloc(1024 * 1024);

const ATTACKS = {
  "chains of 98 KB"() {
    const { certChain: cert, key } = costlyChain(rsaKey(3072, 3071), 74);
    keepUp(() => secure({ cert, key }).resume());
  },
  "chains as long as they may be"() {
    const chains = [rsaKey(3072, 3071), ecKey("sect571r1", 570)].map((key) => longestChain(key, 10_000));
    keepUp(() => {
      const { certChain: cert, key } = chains[next % chains.length] ?? { certChain: "", key: "" };
      return secure({ cert, key }).resume();
    });
  },
  "slow readers"() {
    application((socket) => {
      const write = (): void => {
        while (socket.write(ENDLESS));
        socket.once("drain", write);
      };
      socket.once("data", write);
    });
    keepUp(() => {
      const socket = client().pause();
      socket.write("go");
      return socket;
    });
  },
  "senders to an application that does not read"() {
    application((socket) => void socket.pause());
    keepUp(() => {
      const socket = client();
      const write = (): void => {
        while (!socket.destroyed && socket.write(ENDLESS));
        socket.once("drain", write);
      };
      write();
      return socket.resume();
    });
  },
  "silent connections"() {
    keepUp(() => transport().resume());
  },
  "first messages, and then silence"() {
    keepUp(() =>
      transport()
        .once("connect", function (this: Socket) {
          this.write(hello);
        })
        .resume(),
    );
  },
  "handshakes byte by byte"() {
    keepUp(() => {
      const socket = transport().resume();
      void (async () => {
        for (const byte of hello) {
          if (socket.destroyed) return;
          socket.write(Buffer.from([byte]));
          await sleep(5);
        }
      })();
      return socket;
    });
  },
  "first messages without end"() {
    // 16 MiB of a ClientHello.
    const header = Buffer.from([22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]);
    const fragment = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(0x4000)]);
    keepUp(() => {
      const socket = transport().resume();
      socket.once("connect", () => {
        socket.write(Buffer.concat([header, Buffer.alloc(0x4000 - 4)]));
        const write = (): void => {
          while (!socket.destroyed && socket.write(fragment));
          socket.once("drain", write);
        };
        write();
      });
      return socket;
    });
  },
  "key updates"() {
    keepUp(() => afterHandshake((writer, socket) => flood(socket, () => many(writer.keyUpdate.bind(writer)))));
  },
  "empty records"() {
    keepUp(() =>
      afterHandshake((writer, socket) =>
        flood(socket, () => many(() => writer.record(CONTENT.applicationData, Buffer.alloc(0)))),
      ),
    );
  },
  "records of one byte"() {
    keepUp(() =>
      afterHandshake((writer, socket) =>
        flood(socket, () => many(() => writer.record(CONTENT.applicationData, Buffer.alloc(1)))),
      ),
    );
  },
  "handshake messages of 16 MiB after the handshake"() {
    const begin = Buffer.concat([Buffer.from([4, 0xff, 0xff, 0xff]), Buffer.alloc(16_000)]);
    keepUp(() =>
      afterHandshake((writer, socket) => {
        socket.write(writer.record(CONTENT.handshake, begin));
        flood(socket, () => many(() => writer.record(CONTENT.handshake, Buffer.alloc(1_000))));
      }),
    );
  },
  "handshake messages of 64 KiB in pieces of one byte"() {
    const begin = Buffer.from([4, 0, 0xff, 0xff]);
    keepUp(() =>
      afterHandshake((writer, socket) => {
        socket.write(writer.record(CONTENT.handshake, begin));
        flood(socket, () => many(() => writer.record(CONTENT.handshake, Buffer.alloc(1))));
      }),
    );
  },
  "half records"() {
    keepUp(() =>
      afterHandshake((writer, socket) => {
        const record = writer.record(CONTENT.applicationData, Buffer.alloc(16_384));
        socket.write(record.subarray(0, record.length - 1));
      }),
    );
  },
  renegotiation() {
    keepUp(() => {
      const socket = secure({ maxVersion: "TLSv1.2" });
      socket.once("secureConnect", () => {
        const again = (): void => {
          if (socket.destroyed) return;
          socket.renegotiate({}, () => setImmediate(again));
        };
        again();
      });
      return socket.resume();
    });
  },
  "readers of metrics who don't read"() {
    keepUp(() =>
      transport()
        .once("connect", function (this: Socket) {
          this.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000));
        })
        .pause(),
    );
  },
} as const;

const hello = await clientHello();

type Writer = Awaited<ReturnType<typeof recordWriter>>;

function afterHandshake(act: (writer: Writer, socket: Socket) => void): Socket {
  const under = transport();
  const socket = connectTls({ socket: under, rejectUnauthorized: false, ciphers: "TLS_AES_256_GCM_SHA384" });
  socket.on("error", () => {});
  recordWriter(socket).then(
    (writer) => {
      socket.pause();
      act(writer, under);
    },
    () => {},
  );
  return under;
}

function many(one: () => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: 500 }, one));
}

function flood(socket: Socket, bytes: () => Buffer): void {
  const write = (): void => {
    if (socket.destroyed) return;
    socket.write(bytes(), () => setImmediate(write));
  };
  write();
}

ATTACKS[orders.attack]();
await sleep(1_000);
process.stderr.write(`${JSON.stringify({ level: "info", msg: "attacking" })}\n`);
