import { create } from "@bufbuild/protobuf";
import { createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as tcpConnect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { connect as tlsConnect, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ClientHello, ClientHelloSchema, ServerHelloSchema, SnpEvidenceSchema } from "../api/channel_pb.ts";
import { addMethods } from "../api/grpc.ts";
import type { Methods } from "../api/grpc-server.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import type { Attester, SnpEvidence } from "../attestation/evidence.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { openTestVendor } from "../attestation/simulated/test-vendor.ts";
import type { SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { checkReportData } from "../attestation/report-data.ts";
import { simulatedRoots } from "../attestation/snp/roots.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import { policyHash } from "../attestation/policy-hash.ts";
import { toHex } from "../bytes/encode.ts";
import { generateEcKey, type KeyPair, keyPairOf, spki, spkiDigest } from "../pki/keys.ts";
import { describeError } from "../runtime/errors.ts";
import { Budget, budgetLimits } from "../runtime/budget.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { createLogger } from "../runtime/log.ts";
import { ChannelClient } from "./client.ts";
import { proveClientKey } from "./client-key.ts";
import { ChannelError, RemoteError } from "./error.ts";
import type { Appraiser } from "./exchange.ts";
import { MAX_MESSAGE, readMessage, writeMessage } from "./framing.ts";
import type { ChannelLimits } from "./limits.ts";
import { type Protocols, PROTOCOLS } from "./protocol.ts";
import { toStatus } from "./rejection.ts";
import { type ChannelServer, listen } from "./server.ts";
import { ALPN, exporterOf, selfSigned, startTls, type TlsIdentity } from "./tls.ts";

/** Real TLS on loopback, real reports of the software TEE, real deadlines. */

const HANDSHAKE_MS = 1500;
const ADDRESS = "127.86.0.1";
const log = createLogger({ program: "test", level: "error", format: "json", isTerminal: false, colour: false });

let directory: string;
let vendor: SimulatedVendor;
let server: ChannelServer;
const vms: Attester<SnpEvidence>[] = [];
const hostData = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "channel-test-"));
  vendor = await openTestVendor(join(directory, "vendor"), new Date());
  for (const [index, data] of hostData.entries()) {
    await vendor.launch(join(directory, `vm${index}`), { hostData: data });
    vms.push(await openSimulatedAttester(join(directory, `vm${index}`)));
  }
  server = await start({});
});

afterAll(async () => {
  await server.close(0);
  await rm(directory, { recursive: true });
});

function vm(index: number): Attester<SnpEvidence> {
  const attester = vms[index];
  if (attester === undefined) throw new Error("no such VM");
  return attester;
}

/** Gives the policy hash of whoever shows good evidence for this connection. */
const appraise: Appraiser<string> = async ({ evidence, reportData }) => {
  if (evidence?.kind !== "snp") return "nobody";
  const verified = verifySnp(evidence, { trustAnchors: simulatedRoots([vendor.rootDigest]), at: new Date() });
  checkReportData(verified, reportData);
  return policyHash(verified);
};

const unasked = (): Promise<never> => Promise.reject(new Error("nobody asks"));
const UNASKED = { currentTrust: unasked, recover: unasked, latest: unasked, useFormatGrant: unasked };

async function start(changes: {
  appraise?: Appraiser<string>;
  protocols?: Protocols;
  limits?: Partial<ChannelLimits>;
  /** For all large requests and answers together. */
  requestBytes?: number;
}): Promise<ChannelServer> {
  const options = {
    identity: await identity(),
    attester: vm(0),
    appraise: changes.appraise ?? appraise,
    serve: (methods: Methods, peer: string) =>
      addMethods(methods, MeshAPI, { newMeshCert: async () => ({ certChain: peer }), ...UNASKED }, toStatus),
    requests: new Budget(budgetLimits(changes.requestBytes ?? 2 ** 20)),
    turns: new KeyedSemaphore({ total: 1, perPeer: 1, waiting: { total: 500, perPeer: 500 } }),
    log,
    ...(changes.protocols === undefined ? {} : { protocols: changes.protocols }),
    limits: {
      handshakeMs: HANDSHAKE_MS,
      requestMs: 2000,
      idleMs: 30_000,
      ageMs: 60_000,
      patienceMs: 1000,
      helloBytes: MAX_MESSAGE,
      connections: { total: 200, perPeer: 200 },
      places: { total: 200, perPeer: 200 },
      reserved: { total: 4, perPeer: 1 },
      appraisals: { total: 20, perPeer: 20, waiting: { total: 200, perPeer: 200 } },
      ...changes.limits,
    },
  };
  return listen(options, 0, ADDRESS);
}

const throwAway = (): Promise<KeyPair> => generateEcKey("P-256");

async function identity(): Promise<TlsIdentity> {
  return selfSigned(await generateEcKey("P-256"), new Date());
}

async function call(
  port: number,
  attester?: Attester,
  appraiseServer?: Appraiser<string>,
  own?: KeyPair,
  protocols?: Protocols,
): Promise<[string, string?]> {
  const client = new ChannelClient({
    target: `${ADDRESS}:${port}`,
    keys: own ?? (await throwAway()),
    attester,
    appraiseServer,
    protocols,
    handshakeMs: 5000,
  });
  try {
    const { certChain } = await client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 10_000));
    return client.server === undefined ? [certChain] : [certChain, client.server];
  } finally {
    client.close();
  }
}

async function rawTls(port: number): Promise<TLSSocket> {
  const socket = tcpConnect(port, ADDRESS);
  await once(socket, "connect");
  return startTls(socket, AbortSignal.timeout(5000));
}

/** Shows a hello, with the own key proven for this connection, and gives the code of the refusal, or "accepted". */
async function show(port: number, own: KeyPair | undefined, hello: ClientHello): Promise<string> {
  const tls = await rawTls(port);
  try {
    const key = own === undefined ? {} : proveClientKey(own, exporterOf(tls));
    await writeMessage(tls, ClientHelloSchema, create(ClientHelloSchema, { ...hello, ...key }));
    const { answer } = await readMessage(tls, ServerHelloSchema);
    return answer.case === "rejected" ? answer.value.code : String(answer.case);
  } finally {
    tls.destroy();
  }
}

/** Listens as a Coordinator would, and gives the first hello that somebody sends. */
async function eavesdrop(): Promise<{ port: number; hello: Promise<ClientHello>; close: () => void }> {
  const trap = createTlsServer({ ...(await identity()), ALPNProtocols: [ALPN] });
  const hello = new Promise<ClientHello>((resolve, reject) => {
    trap.on("secureConnection", (socket: TLSSocket) => {
      socket.on("error", () => undefined);
      readMessage(socket, ClientHelloSchema).then(resolve, reject);
    });
  });
  trap.listen(0, ADDRESS);
  await once(trap, "listening");
  return { port: (trap.address() as AddressInfo).port, hello, close: () => trap.close() };
}

/** The evidence that a VM showed somebody else, under a key that the thief has stolen too. */
async function steal(): Promise<{ hello: ClientHello; key: KeyPair }> {
  const trap = await eavesdrop();
  const key = await throwAway();
  const client = new ChannelClient({
    target: `${ADDRESS}:${trap.port}`,
    keys: key,
    attester: vm(1),
    handshakeMs: 1000,
  });
  const failed = client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 3000)).catch(() => undefined);
  const hello = await trap.hello;
  client.close();
  trap.close();
  await failed;
  return { hello, key };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ChannelError || error instanceof RemoteError) return error.code;
  return error === undefined ? "no error" : describeError(error);
}

test("a handler knows the peer that was verified on its connection", async () => {
  expect(await call(server.port, vm(1))).toEqual([hostData[1]?.toString("hex")]);
  expect(await call(server.port)).toEqual(["nobody"]);
});

test.each([
  ["P-384", "ec", { namedCurve: "P-384" }],
  ["RSA-3072", "rsa", { modulusLength: 3072 }],
] as const)("an owner's key of %s proves who connects", async (_name, type, options) => {
  const { privateKey } = generateKeyPairSync(type as "rsa", options as { modulusLength: number });
  const own = keyPairOf(privateKey);
  const seen = await start({ appraise: async ({ publicKey }) => toHex(spkiDigest(publicKey)) });
  expect(await call(seen.port, vm(1), appraise, own)).toEqual([
    toHex(spkiDigest(createPublicKey(privateKey))),
    hostData[0]?.toString("hex"),
  ]);
  await seen.close(0);
});

const { newest } = PROTOCOLS;

test.each([
  ["the release before", { oldest: newest - 2, newest: newest - 1 }],
  ["the release after", { oldest: newest, newest: newest + 1 }],
])("peers of %s are served, and serve", async (_, protocols) => {
  expect(await call(server.port, undefined, undefined, undefined, protocols)).toEqual(["nobody"]);
  const other = await start({ protocols });
  expect(await call(other.port)).toEqual(["nobody"]);
  await other.close(0);
});

test.each([
  ["two releases newer", { oldest: newest + 1, newest: newest + 2 }, PROTOCOLS],
  ["two releases older", PROTOCOLS, { oldest: newest + 1, newest: newest + 2 }],
])("a client that is %s is refused, and told both versions", async (_, clients, servers) => {
  const other = await start({ protocols: servers });
  const refused = call(other.port, vm(1), appraise, undefined, clients);
  const range = ({ oldest, newest: last }: Protocols, joint: string): string => `${oldest} ${joint} ${last}`;
  await expect(refused).rejects.toMatchObject({
    code: "version_unsupported",
    got: expect.stringContaining(range(clients, "to")) as string,
    want: expect.stringContaining(range(servers, "or")) as string,
    hint: expect.stringContaining("update the") as string,
    transient: false,
  });
  await other.close(0);
});

test("a client calls no server that chose a protocol which it did not offer", async () => {
  const trap = createTlsServer({ ...(await identity()), ALPNProtocols: [ALPN] }, (socket) => {
    socket.on("error", () => undefined);
    const answer = { case: "accepted", value: { protocol: newest + 1 } } as const;
    void readMessage(socket, ClientHelloSchema)
      .then(() => writeMessage(socket, ServerHelloSchema, create(ServerHelloSchema, { answer })))
      .catch(() => undefined);
  });
  trap.listen(0, ADDRESS);
  await once(trap, "listening");
  expect(await codeOf(call((trap.address() as AddressInfo).port))).toBe("version_unsupported");
  trap.close();
});

test("many peers at once are never taken for one another", async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => call(server.port, vm(index % 2))));
  expect(answers.map(([peer]) => peer)).toEqual(answers.map((_, index) => hostData[index % 2]?.toString("hex")));
});

test("a client that asks for the server's evidence gets it for this connection", async () => {
  expect(await call(server.port, undefined, appraise)).toEqual(["nobody", hostData[0]?.toString("hex")]);
});

test("a server that does not convince the client is not called", async () => {
  const refuse = async (): Promise<string> => {
    throw new ChannelError("evidence_missing", "not convinced");
  };
  expect(await codeOf(call(server.port, undefined, refuse))).toBe("evidence_missing");
});

test("evidence of one connection is refused on another, even with the same key", async () => {
  const { hello, key } = await steal();
  expect(await show(server.port, key, hello)).toBe("report_data_mismatch");
});

test("stolen evidence is refused under the thief's own key", async () => {
  const { hello } = await steal();
  expect(await show(server.port, await throwAway(), hello)).toBe("report_data_mismatch");
});

test("a client's evidence reflected by the server is refused", async () => {
  const mirror = createTlsServer({ ...(await identity()), ALPNProtocols: [ALPN] });
  mirror.on("secureConnection", (socket: TLSSocket) => {
    socket.on("error", () => undefined);
    void readMessage(socket, ClientHelloSchema).then(({ evidence }) => {
      const accepted = { case: "accepted", value: evidence === undefined ? {} : { evidence } } as const;
      return writeMessage(socket, ServerHelloSchema, create(ServerHelloSchema, { answer: accepted }));
    });
  });
  mirror.listen(0, ADDRESS);
  await once(mirror, "listening");
  const { port } = mirror.address() as AddressInfo;
  await expect(call(port, vm(1), appraise)).rejects.toMatchObject({ code: "report_data_mismatch" });
  mirror.close();
});

test("evidence with a changed bit is refused with its own code", async () => {
  const tls = await rawTls(server.port);
  const evidence = await vm(1).collect(randomBytes(64));
  evidence.report[0x90] = (evidence.report[0x90] ?? 0) ^ 1;
  const value = create(SnpEvidenceSchema, { report: evidence.report, certificates: [...evidence.certificates] });
  const key = proveClientKey(await throwAway(), exporterOf(tls));
  const hello = create(ClientHelloSchema, { evidence: { kind: { case: "snp", value } }, ...key });
  await writeMessage(tls, ClientHelloSchema, hello);
  const { answer } = await readMessage(tls, ServerHelloSchema);
  expect(answer).toMatchObject({ case: "rejected", value: { code: "report_signature", field: "SIGNATURE" } });
  tls.destroy();
});

test("too long a message is refused before it is read", async () => {
  const tls = await rawTls(server.port);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(MAX_MESSAGE + 1);
  tls.write(length);
  const { answer } = await readMessage(tls, ServerHelloSchema);
  expect(answer).toMatchObject({ case: "rejected", value: { code: "message_too_large" } });
  tls.destroy();
});

test("a message that is none is refused", async () => {
  const tls = await rawTls(server.port);
  tls.write(Buffer.from([0, 0, 0, 3, 0xff, 0xff, 0xff]));
  const { answer } = await readMessage(tls, ServerHelloSchema);
  expect(answer).toMatchObject({ case: "rejected", value: { code: "malformed_message" } });
  tls.destroy();
});

test("no client is asked for a certificate, and one that has not proven its key is refused", async () => {
  const args = ["s_client", "-connect", `${ADDRESS}:${server.port}`, "-alpn", ALPN, "-tls1_3", "-msg"];
  const run = promisify(execFile)("openssl", args);
  run.child.stdin?.end();
  const { stdout } = await run;
  expect(stdout).toContain("EncryptedExtensions");
  expect(stdout).not.toContain("CertificateRequest");

  const [own, other] = [await throwAway(), await throwAway()];
  const none = create(ClientHelloSchema, {});
  expect(await show(server.port, undefined, none)).toBe("client_key");
  expect(await show(server.port, own, none)).toBe("accepted");
  const { publicKey, signature } = proveClientKey(own, randomBytes(64));
  // Of another connection, and of another key.
  expect(await show(server.port, undefined, create(ClientHelloSchema, { publicKey, signature }))).toBe("client_key");
  const stolen = create(ClientHelloSchema, { publicKey: spki(other.publicKey), signature });
  expect(await show(server.port, undefined, stolen)).toBe("client_key");
});

test.each([
  ["TLS 1.2", { maxVersion: "TLSv1.2", ALPNProtocols: [ALPN] }, /PROTOCOL_VERSION/],
  ["another protocol", { ALPNProtocols: ["h2"] }, /NO_APPLICATION_PROTOCOL/],
] as const)("%s is refused by an alert", async (_name, options, code) => {
  const { ALPNProtocols, ...rest } = options;
  const tls = tlsConnect({
    host: ADDRESS,
    port: server.port,
    rejectUnauthorized: false,
    ALPNProtocols: [...ALPNProtocols],
    ...rest,
  });
  const [error] = (await once(tls, "error").catch((reason: unknown) => [reason])) as [NodeJS.ErrnoException];
  expect(error.code).toMatch(code);
});

function connectTcp(port: number): Socket {
  const socket = tcpConnect(port, ADDRESS);
  socket.on("error", () => undefined);
  return socket;
}

async function closedAfter(socket: Socket, begin: number): Promise<number> {
  socket.resume();
  // Not `once`, which takes a reset on the way for a failure.
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
  return Date.now() - begin;
}

test("silent, slow and garbage peers are closed by the deadline, and others are served meanwhile", async () => {
  const begin = Date.now();
  const silentTcp = connectTcp(server.port);
  const silentTls = await rawTls(server.port);
  const slow = await rawTls(server.port);
  slow.write(Buffer.from([0, 0, 1, 0]));
  const drip = setInterval(() => slow.write(Buffer.of(0)), 100);
  // The beginning of a ClientHello that announces more than ever comes (RFC 8446 §5.1).
  const slowTls = connectTcp(server.port);
  slowTls.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252]));
  const dripTls = setInterval(() => slowTls.write(Buffer.of(3)), 100);
  const garbage = connectTcp(server.port);
  garbage.write(randomBytes(4096));

  expect(await call(server.port, vm(1))).toEqual([hostData[1]?.toString("hex")]);
  const lives = await Promise.all(
    [silentTcp, silentTls, slow, slowTls, garbage].map((socket) => closedAfter(socket, begin)),
  );
  clearInterval(drip);
  clearInterval(dripTls);
  for (const life of lives) expect(life).toBeLessThan(HANDSHAKE_MS * 2 + 2000);
});

test("a client gives up on a server that says nothing", async () => {
  const mute = createTcpServer(() => undefined).listen(0, ADDRESS);
  await once(mute, "listening");
  const { port } = mute.address() as AddressInfo;
  const client = new ChannelClient({ target: `${ADDRESS}:${port}`, keys: await throwAway(), handshakeMs: 300 });
  expect(await codeOf(client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 5000)))).toBe("timeout");
  client.close();
  mute.close();
});

test("a client that is closed leaves no connection behind, not even one that is being made", async () => {
  const mute = createTcpServer().listen(0, ADDRESS);
  await once(mute, "listening");
  const { port } = mute.address() as AddressInfo;
  const client = new ChannelClient({ target: `${ADDRESS}:${port}`, keys: await throwAway(), handshakeMs: 600_000 });
  const [[socket]] = await Promise.all([
    once(mute, "connection") as Promise<[Socket]>,
    codeOf(client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 1000))),
  ]);
  const ended = once(socket.resume(), "close");
  client.close();
  await ended;
  mute.close();
});

test("nobody at the address is `unreachable`, and garbage from a server `tls_handshake`", async () => {
  const noise = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.resume().end("SSH-2.0-OpenSSH_9.2\r\n");
  }).listen(0, ADDRESS);
  await once(noise, "listening");
  const { port } = noise.address() as AddressInfo;
  expect(await codeOf(call(port))).toBe("tls_handshake");
  noise.close();
  await once(noise, "close");
  expect(await codeOf(call(port))).toBe("unreachable");
});

test("beyond the limit of connections the newest is closed at once, and room is made again", async () => {
  const small = await start({ limits: { connections: { total: 1, perPeer: 1 } } });
  const first = await rawTls(small.port);
  const second = connectTcp(small.port);
  await closedAfter(second, 0);
  first.destroy();
  await expect.poll(() => codeOf(call(small.port)), { timeout: 5000 }).toBe("no error");
  await small.close(0);
});

test("no connection is resumed, whatever of an earlier one a client shows", async () => {
  const { key, cert } = await identity();
  const options = { host: ADDRESS, port: server.port, key, cert, ALPNProtocols: [ALPN], rejectUnauthorized: false };
  const first = tlsConnect(options);
  const sessions: Buffer[] = [];
  first.on("session", (session: Buffer) => sessions.push(session));
  await once(first, "secureConnect");
  await writeMessage(first, ClientHelloSchema, create(ClientHelloSchema, {}));
  await readMessage(first, ServerHelloSchema);
  first.destroy();
  for (const session of [...sessions, first.getSession()]) {
    if (session === undefined) continue;
    const second = tlsConnect({ ...options, session });
    await once(second, "secureConnect");
    expect(second.isSessionReused()).toBe(false);
    second.destroy();
  }
});

test("an idle connection is closed", async () => {
  const impatient = await start({ limits: { idleMs: 200 } });
  const tls = await rawTls(impatient.port);
  const key = proveClientKey(await throwAway(), exporterOf(tls));
  await writeMessage(tls, ClientHelloSchema, create(ClientHelloSchema, key));
  await readMessage(tls, ServerHelloSchema);
  const life = await closedAfter(tls, Date.now());
  expect(life).toBeLessThan(5000);
  await impatient.close(0);
});

test("a client takes no larger answer than it has asked for, however the server came to it", async () => {
  const wordy = await start({ appraise: async () => "x".repeat(300 * 1024), requestBytes: 2 ** 24 });
  const keys = await throwAway();
  const target = `${ADDRESS}:${wordy.port}`;
  const client = new ChannelClient({ target, keys, handshakeMs: 5000, answerBytes: 256 * 1024 });
  const call = client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 10_000));
  await expect(call).rejects.toMatchObject({ code: "malformed_message" });
  client.close();
  await wordy.close(0);
});

test("a client takes no longer a first answer than there is, from whoever answers", async () => {
  const liar = createTlsServer({ ...(await identity()), ALPNProtocols: [ALPN] });
  liar.on("secureConnection", (socket: TLSSocket) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(MAX_MESSAGE + 1);
    socket.on("error", () => undefined).write(length);
  });
  liar.listen(0, ADDRESS);
  await once(liar, "listening");
  const { port } = liar.address() as AddressInfo;
  await expect(call(port)).rejects.toMatchObject({ code: "message_too_large" });
  liar.close();
});
