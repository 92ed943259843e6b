import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A real nginx that terminates TLS. */
export interface NginxServers {
  /** Lines of `method path status`, of those that were answered. */
  readonly requests: () => string[];
  readonly stop: () => Promise<void>;
}

export const NO_NGINX = spawnSync("nginx", ["-v"]).status === 0 ? undefined : "there is no nginx";

/** With a certificate that it signed itself. */
export interface Nginx extends NginxServers {
  /** `https://<address>:<port>` */
  readonly url: string;
  /** The file of its certificate, PEM. */
  readonly certificate: string;
}

/**
 * @param address loopback, nobody else's, and the port
 * @param locations of the server, in the words of nginx.conf
 */
export async function startNginx(address: string, port: number, locations: string): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), "nginx-test-"));
  const [certificate, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
  const subject = ["-subj", "/CN=proxy", "-addext", `subjectAltName=IP:${address}`, "-days", "2"];
  const keys = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key];
  execFileSync("openssl", ["req", "-x509", ...keys, "-out", certificate, ...subject], { stdio: "pipe" });
  const servers = { [`${address}:${port}`]: locations };
  const { requests, stop } = await startNginxServers(directory, { certificate, key }, servers);
  return {
    url: `https://${address}:${port}`,
    certificate,
    requests,
    stop: async () => {
      await stop();
      rmSync(directory, { recursive: true });
    },
  };
}

/**
 * @param directory for its files
 * @param identity the files of a certificate and its key, PEM
 * @param servers by `<address>:<port>`, loopback, nobody else's; what they do, in the words of nginx.conf
 */
export async function startNginxServers(
  directory: string,
  { certificate, key }: { readonly certificate: string; readonly key: string },
  servers: Readonly<Record<string, string>>,
): Promise<NginxServers> {
  mkdirSync(directory, { recursive: true });
  const file = (name: string): string => join(directory, name);
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${file(name)};`);
  const blocks = Object.entries(servers).map(
    ([address, block]) => `server { listen ${address} ssl; client_max_body_size 32m; ${block} }`,
  );
  writeFileSync(
    file("nginx.conf"),
    `daemon off; worker_processes 1; pid ${file("pid")}; error_log ${file("error.log")};
# Its workers keep long answers in files, in a folder that is nobody else's.
${process.getuid?.() === 0 ? "user root;" : ""}
events { worker_connections 256; }
http {
  ${places.join(" ")}
  types { text/html html; }
  log_format short '$request_method $uri $status';
  access_log ${file("access.log")} short;
  ssl_certificate ${certificate};
  ssl_certificate_key ${key};
  ${blocks.join("\n  ")}
}
`,
  );
  const child = spawn("nginx", ["-p", directory, "-c", file("nginx.conf"), "-e", file("error.log")], {
    stdio: "ignore",
  });
  const ended = once(child, "exit");
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
  };
  for (const server of Object.keys(servers)) {
    for (let tries = 0; !(await answers(new URL(`http://${server}`))); tries++) {
      if (tries > 100 || child.exitCode !== null) {
        await stop();
        throw new Error(`nginx does not listen: ${readFileSync(file("error.log"), "utf8")}`);
      }
      await delay(50);
    }
  }
  return { requests: () => readFileSync(file("access.log"), "utf8").split("\n").filter(Boolean), stop };
}

async function answers({ hostname, port }: URL): Promise<boolean> {
  const socket = connect(Number(port), hostname);
  const isOpen = await Promise.race([
    once(socket, "connect").then(() => true),
    once(socket, "error").then(
      () => false,
      () => false,
    ),
  ]).catch(() => false);
  socket.destroy();
  return isOpen;
}
