import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload, writeTlsConfig } from "../../pki/test-mesh.ts";
import { clientHello } from "../client-hello.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  isListening,
  readAll,
  refusals,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../mesh-proxies.ts";

/** How a client's first message may come, and what it may bring along. */

const PROXY = "127.181.4.1";
const APPLICATION = "127.181.4.2";
const NETWORK = "127.181.4.3";
const UPSTREAM = "127.181.4.4";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue({ sans: ["server"] });
});

interface Ingress extends StartedProxy {
  readonly port: number;
  readonly received: () => string;
}

async function startIngress(): Promise<Ingress> {
  const received: Buffer[] = [];
  const port = await startServer(APPLICATION, (socket) => {
    socket.on("data", (chunk: Buffer) => void received.push(chunk)).pipe(socket);
  });
  const proxy = await startLiveProxy(mesh, workload, bindIngress(PROXY, APPLICATION, port));
  return { ...proxy, port, received: () => String(Buffer.concat(received)) };
}

/** The same message in records of other lengths. */
function inRecords(record: Buffer, length: number): Buffer[] {
  const message = record.subarray(5);
  return Array.from({ length: Math.ceil(message.length / length) }, (_, index) => {
    const fragment = message.subarray(index * length, (index + 1) * length);
    const header = Buffer.from([22, 3, 1, 0, 0]);
    header.writeUInt16BE(fragment.length, 3);
    return Buffer.concat([header, fragment]);
  });
}

const WAYS: Readonly<Record<string, (first: Buffer) => readonly Buffer[]>> = {
  "byte by byte": (first) => Array.from(first, (byte) => Buffer.from([byte])),
  "in records of 100 bytes at once": (first) => [Buffer.concat(inRecords(first, 100))],
  "in records of 100 bytes one after the other": (first) => inRecords(first, 100),
  "in records of one byte": (first) => [Buffer.concat(inRecords(first, 1))],
  "with its header apart": (first) => [first.subarray(0, 5), first.subarray(5)],
};

/** A network that changes how the client's first bytes come, and leaves all others alone. */
async function startNetwork(to: number, way: (first: Buffer) => readonly Buffer[]): Promise<number> {
  const send = async (client: Socket): Promise<void> => {
    const upstream = connect({ port: to, host: PROXY, noDelay: true, allowHalfOpen: true });
    onTestFinished(() => void upstream.destroy());
    upstream.on("error", () => {}).pipe(client);
    const [first] = (await once(client, "data")) as [Buffer];
    client.pause();
    for (const piece of way(first)) {
      upstream.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.pipe(upstream);
  };
  const server = createServer({ allowHalfOpen: true }, (client) => void send(client.on("error", () => {})));
  server.listen(0, NETWORK);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

test.each(Object.entries(WAYS))("it comes %s", async (_, way) => {
  const { port, lines } = await startIngress();
  const socket = connectSecurely(mesh, workload, { host: NETWORK, port: await startNetwork(port, way) });
  socket.end("hello");
  expect(String(await readAll(socket))).toBe("hello");
  expect(refusals(lines)).toEqual([]);
});

test("data that comes before the handshake is done never reaches the application", async () => {
  const folder = await writeTlsConfig(mesh, workload);
  onTestFinished(async () => rm(folder, { recursive: true }));
  await writeFile(join(folder, "early.txt"), "early data");
  // A ticket that allows it: the proxy's own never do.
  const generous = await freePort(UPSTREAM);
  const listening = `-accept ${UPSTREAM}:${generous} -early_data -cert certChain.pem -key key.pem -quiet`;
  const server = spawn("openssl", ["s_server", ...listening.split(" ")], {
    cwd: folder,
    stdio: ["pipe", "ignore", "ignore"],
  });
  onTestFinished(() => void server.kill("SIGKILL"));
  await expect.poll(async () => isListening(UPSTREAM, generous)).toBe(true);
  const client = async (to: string, options: string): Promise<string> => {
    const command = `(sleep 0.5) | openssl s_client -connect ${to} -CAfile mesh-ca.pem -cert certChain.pem -key key.pem ${options}`;
    const { stdout } = await promisify(execFile)("bash", ["-c", command], { cwd: folder, timeout: 20_000 });
    return stdout;
  };
  await client(`${UPSTREAM}:${generous}`, "-sess_out session.pem");
  expect(await client(`${UPSTREAM}:${generous}`, "-sess_in session.pem -early_data early.txt")).toContain(
    "Early data was accepted",
  );
  await client(`${UPSTREAM}:${generous}`, "-sess_out session.pem");
  const { port, lines, received } = await startIngress();
  const output = await client(`${PROXY}:${port}`, "-sess_in session.pem -early_data early.txt");
  expect(output).toContain("Early data was rejected");
  expect(received()).toBe("");
  expect(refusals(lines).filter(({ code }) => code !== "connection_broken")).toEqual([]);
});

const GOODBYE = Buffer.from([21, 3, 3, 0, 2, 1, 0]);

test("a client that says goodbye in place of the rest never reaches the application", async () => {
  let reached = 0;
  const port = await startServer(APPLICATION, () => reached++);
  const { lines } = await startLiveProxy(mesh, workload, bindIngress(PROXY, APPLICATION, port));
  const socket = connectPlain(PROXY, port);
  socket.write(Buffer.concat([await clientHello(), GOODBYE]));
  await ending(socket);
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "tls_handshake" }]);
  expect(reached).toBe(0);
});

test("an upstream that says goodbye in place of its own is none, also where any will do", async () => {
  const port = await startServer(UPSTREAM, (socket) => void socket.once("data", () => socket.end(GOODBYE)));
  const { lines } = await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${port}#${UPSTREAM}:${port}`,
  });
  const socket = connectPlain(PROXY, port);
  socket.write("secret");
  expect(await ending(socket)).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "tls_handshake" }]);
});
