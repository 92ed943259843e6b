import { type ChildProcess, spawn } from "node:child_process";
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request, type RequestOptions } from "node:https";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { selfSigned } from "../channel/tls.ts";
import { generateEcKey, privateKeyPem } from "../pki/keys.ts";
import { launchCoordinator, processorTime } from "./issuance-servers.ts";
import { measure, median } from "./rounds.ts";

/**
 * `npm run bench:transit [-- --rounds N --batch N]`: what an operation of the transit port costs, beside the bare
 * cryptography, beside a server of Node that does nothing but HTTPS, and beside OpenBao's own transit engine where
 * `.ci/openbao` has installed it. All with connections that stay, from the same clients; rounds are interleaved.
 */

const ID = "vault_unsealing";
const TEXT = randomBytes(32);
/** How many clients are under way at once. */
const CONCURRENCY = 4;
const WARM_UP = 1500;
const BAO = join(import.meta.dirname, "../node_modules/.cache/openbao-2.7.2/bao");

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "15" }, batch: { type: "string", default: "400" } },
});
const [rounds, batch] = [Number(values.rounds), Number(values.batch)];

interface Measured {
  /** Seconds of the server's processor time for one. */
  readonly cost: number;
  /** A second, as the clients see it. */
  readonly rate: number;
  /** Seconds, of each. */
  readonly latencies: readonly number[];
}

interface Peer {
  readonly name: string;
  readonly measure: (times: number) => Promise<Measured>;
  readonly stop: () => Promise<void>;
}

const directory = mkdtempSync(join(tmpdir(), "bench-transit-"));
const peers = [await startCoordinator(), await startBare(), ...(existsSync(BAO) ? [await startBao()] : [])];
try {
  for (const peer of peers) await peer.measure(WARM_UP);
  const samples: { readonly crypto: number; readonly peers: readonly Measured[] }[] = [];
  for (let round = 0; round < rounds; round++) {
    const [[rate = NaN] = []] = measure([{ name: "cryptography", prepare: bareOperation, times: 2000 }], 1, 1);
    const measured: Measured[] = [];
    for (const peer of peers) measured.push(await peer.measure(batch));
    samples.push({ crypto: 1 / rate, peers: measured });
  }
  const report = describe(samples);
  process.stdout.write(report);
  writeFileSync(join(import.meta.dirname, "results", "transit.md"), report);
} finally {
  await Promise.all(peers.map((peer) => peer.stop()));
  rmSync(directory, { recursive: true });
}

/** The key from the seed, and one encryption and its decryption in turns, as the transit port does them. */
function bareOperation(): () => boolean {
  const [seed, salt, nonce, name] = [randomBytes(32), randomBytes(32), randomBytes(12), Buffer.from(ID)];
  return () => {
    const key = Buffer.from(hkdfSync("sha256", seed, salt, name, 32));
    const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(name);
    const sealed = Buffer.concat([cipher.update(TEXT), cipher.final()]);
    const again = Buffer.from(hkdfSync("sha256", seed, salt, name, 32));
    const decipher = createDecipheriv("aes-256-gcm", again, nonce).setAAD(name).setAuthTag(cipher.getAuthTag());
    return Buffer.concat([decipher.update(sealed), decipher.final()]).equals(TEXT);
  };
}

async function startCoordinator(): Promise<Peer> {
  const address = "127.44.22.1";
  const { child, enrolled, keys } = await launchCoordinator(directory, address, ID);
  const { certChain, meshCaCert } = await enrolled();
  const client = { cert: certChain, key: privateKeyPem(keys.privateKey), ca: meshCaCert };
  const options = { host: address, port: 8200, servername: "coordinator.contrast.internal", ...client };
  return peer("the transit port", child, options, `/v1/transit`);
}

async function startBare(): Promise<Peer> {
  const address = "127.44.22.2";
  const identity = await selfSigned(await generateEcKey("P-256"), new Date());
  const args = [join(import.meta.dirname, "bare-https.ts"), JSON.stringify(identity), address];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const { key, cert } = identity;
  const options = { host: address, port: Number(line.toString()), key, cert, rejectUnauthorized: false };
  return peer("HTTPS in Node, and nothing else", child, options, "/v1/transit");
}

async function startBao(): Promise<Peer> {
  const address = "127.44.22.3";
  const listen = [`-dev-listen-address=${address}:8200`, "-dev-tls", `-dev-tls-cert-dir=${directory}`];
  const args = ["server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token", ...listen];
  const child = spawn(BAO, args, { stdio: ["ignore", "pipe", "ignore"] });
  for await (const line of child.stdout) if (String(line).includes("Development mode should")) break;
  child.stdout.resume();
  const ca = readFileSync(join(directory, "vault-ca.pem"), "utf8");
  const headers = { "x-vault-token": "root" };
  const options = { host: address, port: 8200, ca, headers, rejectUnauthorized: false };
  await ask(options, "/v1/sys/mounts/transit", { type: "transit" });
  await ask(options, `/v1/transit/keys/${ID}`, {});
  return peer("OpenBao's transit engine", child, options, "/v1/transit");
}

function peer(name: string, child: ChildProcess, options: RequestOptions, path: string): Peer {
  const plaintext = TEXT.toString("base64");
  return {
    name,
    async measure(times) {
      const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY });
      const open = () => ask({ ...options, agent }, `${path}/encrypt/${ID}`, { plaintext });
      await Promise.all(Array.from({ length: CONCURRENCY }, open));
      let left = times;
      const latencies: number[] = [];
      const work = async (): Promise<void> => {
        while (left-- > 0) {
          const start = performance.now();
          const answer = await ask({ ...options, agent }, `${path}/encrypt/${ID}`, { plaintext });
          const { ciphertext } = (JSON.parse(answer) as { readonly data: { readonly ciphertext: string } }).data;
          const between = performance.now();
          await ask({ ...options, agent }, `${path}/decrypt/${ID}`, { ciphertext });
          latencies.push((between - start) / 1000, (performance.now() - between) / 1000);
        }
      };
      const [before, start] = [processorTime(child), performance.now()];
      await Promise.all(Array.from({ length: CONCURRENCY }, work));
      const seconds = (performance.now() - start) / 1000;
      agent.destroy();
      return { cost: (processorTime(child) - before) / (2 * times), rate: (2 * times) / seconds, latencies };
    },
    async stop() {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    },
  };
}

function ask(options: RequestOptions, path: string, body: object): Promise<string> {
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = { ...(options.headers as object), "content-length": text.length };
    const sent = request({ ...options, path, method: "POST", headers }, (response) => {
      let answer = "";
      response.setEncoding("utf8").on("data", (piece: string) => (answer += piece));
      response.on("end", () => {
        if ((response.statusCode ?? 0) < 300) resolve(answer);
        else reject(new Error(`${path}: ${response.statusCode} ${answer}`));
      });
    });
    sent.on("error", (error) => reject(new Error(`${options.host}${path}: ${error.message}`))).end(text);
  });
}

function describe(samples: readonly { readonly crypto: number; readonly peers: readonly Measured[] }[]): string {
  const of = (index: number) => samples.map(({ peers: all }) => all[index]).filter((one) => one !== undefined);
  const p99 = (index: number): number => {
    const sorted = of(index)
      .flatMap(({ latencies }) => latencies)
      .toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? NaN;
  };
  // An encryption and a decryption make a pair.
  const crypto = median(samples.map((sample) => sample.crypto)) / 2;
  const rows = peers.map(({ name }, index) => {
    const cost = median(of(index).map((one) => one.cost));
    const rate = median(of(index).map((one) => one.rate));
    return `| ${name} | ${Math.round(cost * 1e6)} | ${Math.round(1 / cost)} | ${Math.round(rate)} | ${(p99(index) * 1000).toFixed(1)} |`;
  });
  const ratio = (other: number, value: (one: Measured) => number): number =>
    median(samples.map(({ peers: all }) => ratioOf(all[0], all[other], value)));
  const against = peers
    .slice(1)
    .flatMap(({ name }, index) => [
      `- processor time of ${name}: ${ratio(index + 1, ({ cost }) => cost).toFixed(2)} of it`,
      `- operations a second as its clients see them: ${ratio(index + 1, ({ rate }) => rate).toFixed(2)} of it`,
      `- p99: ${(p99(0) / p99(index + 1)).toFixed(2)} of it`,
    ]);
  const toCrypto = median(samples.map((sample) => (sample.peers[0]?.cost ?? NaN) / (sample.crypto / 2)));
  return [
    "# The transit port",
    "",
    "Written by `npm run bench:transit`. An encryption or a decryption of 32 bytes, over connections that stay. Processor time of the",
    "server in microseconds, how many a second of one core would do, how many its clients got and how long 99 % of them waited at",
    "most; medians of interleaved rounds, ratios of the same round. Clients and server share the machine.",
    "",
    `${samples.length} rounds of ${2 * batch}, ${CONCURRENCY} clients; ${availableParallelism()} cores; Node ${process.versions.node}, OpenSSL ${process.versions.openssl}, ${process.arch}.`,
    "",
    "| | µs | per second and core | a second, seen by clients | p99, ms |",
    "|---|---|---|---|---|",
    `| HKDF-SHA256 and AES-256-GCM alone | ${Math.round(crypto * 1e6)} | ${Math.round(1 / crypto)} | – | – |`,
    ...rows,
    "",
    "The transit port takes, in relation to",
    "",
    `- processor time of the bare cryptography: ${toCrypto.toFixed(1)} times it`,
    ...against,
    "",
    "What it takes beside the cryptography is HTTPS: reading and writing records of TLS and heads of HTTP in Node. What it adds to bare",
    "HTTPS is its own layer below TLS, which bounds a handshake; the caller's certificate against what is in force; a turn; parsing the body strictly; metrics.",
    "",
  ].join("\n");
}

function ratioOf(ours: Measured | undefined, theirs: Measured | undefined, value: (one: Measured) => number): number {
  return ours === undefined || theirs === undefined ? NaN : value(ours) / value(theirs);
}
