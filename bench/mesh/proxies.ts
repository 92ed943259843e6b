import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createMesh, type Workload } from "../../pki/test-mesh.ts";
import { ENVOY, envoyConfiguration } from "./envoy.ts";
import { type Program, type Running, start } from "./processes.ts";

/**
 * The proxies that are compared, each as two: one that takes plain connections into mutual TLS 1.3, and one that takes
 * them out again. All have the same certificates and the same addresses but for one byte.
 */

export const PORT = 8080;
export const BACKEND = "127.76.0.1";

export interface Paths {
  /** Holds the certificates, and the configuration files of the peers. */
  readonly folder: string;
  /** Compiled JavaScript of this repository. */
  readonly dist: string;
}

export interface Options {
  /** Where not, each connection costs a full handshake. */
  readonly isResuming: boolean;
}

interface Addresses {
  readonly egress: string;
  readonly ingress: string;
}

export interface Contestant {
  readonly name: string;
  readonly version: string;
  readonly isPeer: boolean;
  /** With larger buffers than its defaults; of interest only where much is carried. */
  readonly isTunedForBulk: boolean;
  readonly start: (options: Options) => Promise<StartedPair>;
}

export interface StartedPair {
  readonly processes: readonly [Running, Running];
  /** Where plain connections go in. */
  readonly host: string;
}

type Programs = (addresses: Addresses, paths: Paths, options: Options) => Promise<readonly [Program, Program]>;

interface Kind {
  readonly name: string;
  readonly binary?: string;
  readonly version: readonly [string, ...string[]];
  readonly isTunedForBulk?: boolean;
  readonly programs: Programs;
}

/** Addresses of proxies are taken one after the other: a stopped proxy's connections linger in the kernel. */
let taken = 0;

export async function contestants(
  paths: Paths,
  others: readonly string[],
): Promise<{ found: Contestant[]; absent: string[] }> {
  await writeCertificates(paths.folder);
  const absent: string[] = [];
  const found: Contestant[] = [];
  const all = [MESH_PROXY, ON_STREAMS, ...others.map((dist) => compiledAt(dist)), ...PEERS];
  for (const kind of all) {
    if (kind.binary !== undefined && !existsSync(kind.binary)) {
      absent.push(`${kind.name}: there is no ${kind.binary}; apt-get install haproxy libnginx-mod-stream stunnel4`);
      continue;
    }
    found.push({
      name: kind.name,
      version: versionOf(kind),
      isPeer: kind.binary !== undefined,
      isTunedForBulk: kind.isTunedForBulk ?? false,
      async start(options) {
        const block = ++taken;
        const addresses = { egress: `127.76.${block}.1`, ingress: `127.76.${block}.2` };
        const [egress, ingress] = await kind.programs(addresses, paths, options);
        const second = await start(ingress, { host: addresses.ingress, port: PORT });
        const first = await start(egress, { host: addresses.egress, port: PORT });
        return { processes: [first, second], host: addresses.egress };
      },
    });
  }
  return { found, absent };
}

function versionOf({ version: [file, ...args] }: Kind): string {
  const text = execFileSync("sh", ["-c", '"$@" 2>&1', "sh", file, ...args], { encoding: "utf8" });
  return /\d+\.\d+[.\d]*/.exec(text)?.[0] ?? "?";
}

async function writeCertificates(folder: string): Promise<void> {
  const mesh = await createMesh();
  const write = async (name: string, { certChain, key }: Workload): Promise<void> => {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "certChain.pem"), certChain);
    await writeFile(join(folder, name, "key.pem"), key);
    await writeFile(join(folder, name, "mesh-ca.pem"), mesh.meshCa);
    // haproxy wants both in one file.
    await writeFile(join(folder, name, "both.pem"), certChain + key, { mode: 0o600 });
  };
  await write("client", await mesh.issue({ sans: ["client"] }));
  await write("server", await mesh.issue({ sans: ["server"] }));
}

const MESH_PROXY: Kind = {
  name: "mesh-proxy",
  version: [process.execPath, "--version"],
  programs: async (addresses, paths, options) => meshProxy(paths.dist, addresses, paths, options),
};

/** The same on Node's streams, which is what a machine with Node alone has. */
const ON_STREAMS: Kind = {
  ...MESH_PROXY,
  name: "mesh-proxy, streams",
  programs: async (addresses, paths, options) => meshProxy(paths.dist, addresses, paths, options, "streams"),
};

/** Another build of this repository. */
function compiledAt(dist: string): Kind {
  return { ...MESH_PROXY, name: dist, programs: async (...args) => meshProxy(dist, ...args) };
}

function meshProxy(
  dist: string,
  { egress, ingress }: Addresses,
  { folder }: Paths,
  { isResuming }: Options,
  engine = "native",
): [Program, Program] {
  const preload = isResuming ? [] : ["--import", join(import.meta.dirname, "without-sessions.ts")];
  const command = [process.execPath, ...preload, join(dist, "mesh-proxy/main.js")] as const;
  const common = { CONTRAST_LOG_LEVEL: "warn", CONTRAST_LOG_FORMAT: "json", CONTRAST_ENGINE: engine };
  // All connections of a run come from one address.
  const most = "100000";
  return [
    {
      command: [...command],
      environment: {
        ...common,
        CONTRAST_TLS_CONFIG_DIR: join(folder, "client"),
        CONTRAST_EGRESS_PROXY_CONFIG: `app#${egress}:${PORT}#${ingress}:${PORT}#server`,
        CONTRAST_MAX_EGRESS_CONNECTIONS: most,
      },
    },
    {
      command: [...command],
      environment: {
        ...common,
        CONTRAST_TLS_CONFIG_DIR: join(folder, "server"),
        CONTRAST_INGRESS_PROXY_CONFIG: "",
        CONTRAST_INGRESS_MODE: "bind",
        CONTRAST_INGRESS_BIND: ingress,
        CONTRAST_INGRESS_TARGET: BACKEND,
        CONTRAST_INGRESS_PORTS: String(PORT),
        CONTRAST_MAX_INGRESS_CONNECTIONS: most,
        CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: most,
      },
    },
  ];
}

const HAPROXY = "/usr/sbin/haproxy";
const NGINX = "/usr/sbin/nginx";
const STUNNEL = "/usr/bin/stunnel4";

const ENVOY_BINARY = join(import.meta.dirname, "../..", ENVOY);

const PEERS: readonly Kind[] = [
  { name: "haproxy", binary: HAPROXY, version: [HAPROXY, "-v"], programs: haproxy("") },
  {
    name: "haproxy, 64 KiB buffers",
    binary: HAPROXY,
    version: [HAPROXY, "-v"],
    isTunedForBulk: true,
    programs: haproxy("tune.bufsize 65536"),
  },
  {
    name: "haproxy, 256 KiB buffers",
    binary: HAPROXY,
    version: [HAPROXY, "-v"],
    isTunedForBulk: true,
    programs: haproxy("tune.bufsize 262144"),
  },
  { name: "nginx", binary: NGINX, version: [NGINX, "-v"], programs: nginx("") },
  {
    name: "nginx, 64 KiB buffers",
    binary: NGINX,
    version: [NGINX, "-v"],
    isTunedForBulk: true,
    programs: nginx("proxy_buffer_size 64k;"),
  },
  {
    name: "nginx, 256 KiB buffers",
    binary: NGINX,
    version: [NGINX, "-v"],
    isTunedForBulk: true,
    programs: nginx("proxy_buffer_size 256k;"),
  },
  { name: "Envoy", binary: ENVOY_BINARY, version: [ENVOY_BINARY, "--version"], programs: envoy },
  { name: "stunnel", binary: STUNNEL, version: [STUNNEL, "-version"], programs: stunnel },
];

const NO_TIMEOUTS = "timeout connect 10s\n timeout client 1h\n timeout server 1h";

function haproxy(tuning: string): Programs {
  return async ({ egress, ingress }, { folder }, { isResuming }) => {
    const configuration = (listen: string): string =>
      `global\n ${tuning}\ndefaults\n mode tcp\n ${NO_TIMEOUTS}\nlisten mesh\n ${listen}\n`;
    const tls = (who: string): string =>
      `crt ${folder}/${who}/both.pem ca-file ${folder}/${who}/mesh-ca.pem verify required ssl-min-ver TLSv1.3`;
    const reuse = isResuming ? "" : "no-ssl-reuse";
    const texts = [
      ["client", `bind ${egress}:${PORT}\n server up ${ingress}:${PORT} ssl ${tls("client")} ${reuse}`],
      ["server", `bind ${ingress}:${PORT} ssl ${tls("server")}\n server up ${BACKEND}:${PORT}`],
    ] as const;
    return written(texts, folder, ingress, configuration, (file) => [HAPROXY, "-db", "-f", file]);
  };
}

function nginx(tuning: string): Programs {
  return async ({ egress, ingress }, { folder }, { isResuming }) => {
    // nginx removes its pid file, whatever it is, when it ends.
    const configuration = (server: string): string =>
      `load_module /usr/lib/nginx/modules/ngx_stream_module.so; pid ${folder}/${ingress}-${server.length}.pid; daemon off; worker_processes auto;
       error_log stderr crit; worker_rlimit_nofile 20000; events { worker_connections 20000; }
       stream { tcp_nodelay on; proxy_timeout 1h; ${tuning} server { ${server} } }`;
    const tls = (who: string, prefix: string): string =>
      `${prefix}_certificate ${folder}/${who}/certChain.pem; ${prefix}_certificate_key ${folder}/${who}/key.pem;
       ${prefix}_protocols TLSv1.3;`;
    const texts = [
      [
        "client",
        `listen ${egress}:${PORT}; proxy_pass ${ingress}:${PORT}; proxy_ssl on; ${tls("client", "proxy_ssl")}
         proxy_ssl_verify on; proxy_ssl_name server; proxy_ssl_trusted_certificate ${folder}/client/mesh-ca.pem;
         proxy_ssl_session_reuse ${isResuming ? "on" : "off"};`,
      ],
      [
        "server",
        `listen ${ingress}:${PORT} ssl; proxy_pass ${BACKEND}:${PORT}; ${tls("server", "ssl")}
         ssl_verify_client on; ssl_client_certificate ${folder}/server/mesh-ca.pem;`,
      ],
    ] as const;
    return written(texts, folder, ingress, configuration, (file) => [NGINX, "-c", file]);
  };
}

async function envoy(...[{ egress, ingress }, { folder }, { isResuming }]: Parameters<Programs>): ReturnType<Programs> {
  const backend = { host: BACKEND, port: PORT };
  const [first, second] = [egress, ingress].map((host) => ({ host, port: PORT }));
  if (first === undefined || second === undefined) throw new Error("a pair has two proxies");
  const common = { isResuming };
  const texts = [
    [
      "client",
      envoyConfiguration({
        ...common,
        listen: first,
        upstream: second,
        secured: "upstream",
        folder: `${folder}/client`,
      }),
    ],
    [
      "server",
      envoyConfiguration({
        ...common,
        listen: second,
        upstream: backend,
        secured: "downstream",
        folder: `${folder}/server`,
      }),
    ],
  ] as const;
  const command = (file: string): [string, ...string[]] => [
    ENVOY_BINARY,
    "-c",
    file,
    "-l",
    "error",
    "--disable-hot-restart",
  ];
  return written(texts, folder, ingress, (text) => text, command, "json");
}

async function stunnel(
  ...[{ egress, ingress }, { folder }, { isResuming }]: Parameters<Programs>
): ReturnType<Programs> {
  const tls = (who: string): string =>
    `cert = ${folder}/${who}/certChain.pem\nkey = ${folder}/${who}/key.pem\nCAfile = ${folder}/${who}/mesh-ca.pem
     verifyChain = yes\nsslVersionMin = TLSv1.3\n${isResuming ? "" : "options = NO_TICKET\nsessionCacheSize = 1"}`;
  const configuration = (service: string): string =>
    `foreground = yes\npid =\ndebug = crit\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[mesh]\n${service}\n`;
  const texts = [
    ["client", `client = yes\naccept = ${egress}:${PORT}\nconnect = ${ingress}:${PORT}\n${tls("client")}`],
    ["server", `accept = ${ingress}:${PORT}\nconnect = ${BACKEND}:${PORT}\n${tls("server")}`],
  ] as const;
  return written(texts, folder, ingress, configuration, (file) => [STUNNEL, file]);
}

async function written(
  texts: readonly [readonly [string, string], readonly [string, string]],
  folder: string,
  unique: string,
  configuration: (text: string) => string,
  command: (file: string) => [string, ...string[]],
  extension = "conf",
): Promise<readonly [Program, Program]> {
  const program = async ([who, text]: readonly [string, string]): Promise<Program> => {
    const file = join(folder, `${unique}-${who}.${extension}`);
    await writeFile(file, configuration(text));
    return { command: command(file) };
  };
  return [await program(texts[0]), await program(texts[1])];
}
