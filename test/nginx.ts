import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A real nginx that terminates TLS, with a certificate that it signed itself. */
export interface Nginx {
  /** `https://<address>:<port>` */
  readonly url: string;
  /** The file of its certificate, PEM. */
  readonly certificate: string;
  /** Lines of `method path status`, of those that were answered. */
  readonly requests: () => string[];
  readonly stop: () => Promise<void>;
}

export const NO_NGINX = spawnSync("nginx", ["-v"]).status === 0 ? undefined : "there is no nginx";

/**
 * @param address loopback, nobody else's, and the port
 * @param locations of the server, in the words of nginx.conf
 */
export async function startNginx(address: string, port: number, locations: string): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), "nginx-test-"));
  const file = (name: string): string => join(directory, name);
  const subject = ["-subj", "/CN=proxy", "-addext", `subjectAltName=IP:${address}`, "-days", "2"];
  const keys = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("key.pem")];
  execFileSync("openssl", ["req", "-x509", ...keys, "-out", file("cert.pem"), ...subject], { stdio: "pipe" });
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${file(name)};`);
  writeFileSync(
    file("nginx.conf"),
    `daemon off; worker_processes 1; pid ${file("pid")}; error_log ${file("error.log")};
events { worker_connections 256; }
http {
  ${places.join(" ")}
  log_format short '$request_method $uri $status';
  access_log ${file("access.log")} short;
  server {
    listen ${address}:${port} ssl;
    ssl_certificate ${file("cert.pem")};
    ssl_certificate_key ${file("key.pem")};
    client_max_body_size 32m;
    ${locations}
  }
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
    rmSync(directory, { recursive: true });
  };
  for (let tries = 0; !(await answers(address, port)); tries++) {
    if (tries > 100 || child.exitCode !== null) {
      const why = readFileSync(file("error.log"), "utf8");
      await stop();
      throw new Error(`nginx does not listen: ${why}`);
    }
    await delay(50);
  }
  return {
    url: `https://${address}:${port}`,
    certificate: file("cert.pem"),
    requests: () => readFileSync(file("access.log"), "utf8").split("\n").filter(Boolean),
    stop,
  };
}

async function answers(address: string, port: number): Promise<boolean> {
  const socket = connect(port, address);
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
