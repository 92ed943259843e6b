import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** OpenBao, as `.ci/openbao` installs it: a server that unseals itself by the transit port, and a client. */

const VERSION = "2.7.2";
export const OPENBAO = join(import.meta.dirname, `../node_modules/.cache/openbao-${VERSION}/bao`);

export const HAS_OPENBAO = existsSync(OPENBAO);
export const NO_OPENBAO = "there is no OpenBao; .ci/openbao installs it where there is Python";

export interface Ran {
  readonly code: number;
  readonly output: string;
}

/** Runs a command of the client. @param environment `BAO_ADDR`, `BAO_TOKEN`, certificates */
export function bao(args: readonly string[], environment: Readonly<Record<string, string>>): Promise<Ran> {
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", ...environment };
  return new Promise((resolve) => {
    execFile(OPENBAO, args, { env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? 1);
      resolve({ code, output: `${stdout}${stderr}` });
    });
  });
}

export interface BaoServer {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exited: Promise<number | null>;
  /** Resolves once the output has this text; rejects where it ends without. */
  readonly says: (text: string) => Promise<void>;
}

export interface Seal {
  readonly address: string;
  readonly key: string;
  /** The folder of certificates, as the Initializer writes it. */
  readonly certificates: string;
  readonly token?: string;
  /** Its own API has TLS, by the same certificates. */
  readonly tls?: boolean;
}

/** @param listen address and port of its own API */
export function startBao(directory: string, listen: string, seal: Seal): BaoServer {
  mkdirSync(join(directory, "data"), { recursive: true });
  const configuration = join(directory, "bao.hcl");
  writeFileSync(
    configuration,
    `storage "raft" {
  path = "${join(directory, "data")}"
  node_id = "0"
}
listener "tcp" {
  address = "${listen}"
  ${
    seal.tls === true
      ? `tls_cert_file = "${join(seal.certificates, "certChain.pem")}"\n  tls_key_file = "${join(seal.certificates, "key.pem")}"`
      : "tls_disable = true"
  }
}
cluster_addr = "http://${listen.replace(/\d+$/, (port) => String(Number(port) + 1))}"
api_addr = "http://${listen}"
seal "transit" {
  address = "https://${seal.address}:8200"
  key_name = "${seal.key}"
  mount_path = "transit/"
  ${seal.token === undefined ? 'disable_renewal = "true"' : `token = "${seal.token}"`}
  tls_server_name = "coordinator.contrast.internal"
  tls_ca_cert = "${join(seal.certificates, "mesh-ca.pem")}"
  tls_client_cert = "${join(seal.certificates, "certChain.pem")}"
  tls_client_key = "${join(seal.certificates, "key.pem")}"
}
`,
  );
  return started(spawn(OPENBAO, ["server", `-config=${configuration}`, "-log-level=debug"], { env: ENVIRONMENT }));
}

/** A server in memory, unsealed, whose root token is `root`, to compare with. */
export function startDevBao(listen: string): BaoServer {
  const args = ["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root", `-dev-listen-address=${listen}`];
  return started(spawn(OPENBAO, args, { env: ENVIRONMENT }));
}

const ENVIRONMENT = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent" };

function started(child: ChildProcess): BaoServer {
  let output = "";
  const more = (bytes: Buffer): void => {
    output += bytes.toString();
    child.emit("output");
  };
  child.stdout?.on("data", more);
  child.stderr?.on("data", more);
  const exited = once(child, "close").then(([code]) => code as number | null);
  return {
    child,
    output: () => output,
    exited,
    says: async (text) => {
      while (!output.includes(text)) {
        const ended = await Promise.race([once(child, "output").then(() => false), exited.then(() => true)]);
        if (ended && !output.includes(text)) throw new Error(`it ended without "${text}":\n${output}`);
      }
    },
  };
}
