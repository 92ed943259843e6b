import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createMesh, type Workload } from "../../pki/test-mesh.ts";
import { type Kind, type Options, type Paths, PORT } from "./kinds.ts";
import { OWN } from "./own.ts";
import { PEERS } from "./peers.ts";
import { type Running, start } from "./processes.ts";

/**
 * The proxies that are compared, each as two: one that takes plain connections into mutual TLS 1.3, and one that takes
 * them out again. All have the same certificates and the same addresses but for one byte.
 */

export interface Contestant {
  readonly name: string;
  readonly version: string;
  readonly isPeer: boolean;
  readonly isTunedForBulk: boolean;
  readonly threads: number | undefined;
  readonly start: (options: Options) => Promise<StartedPair>;
}

export interface StartedPair {
  readonly processes: readonly [Running, Running];
  /** Where plain connections go in. */
  readonly host: string;
  /** Where TLS goes in. */
  readonly ingress: string;
}

/** Addresses of proxies are taken one after the other: a stopped proxy's connections linger in the kernel. */
let taken = 0;

export async function contestants(
  paths: Paths,
  others: readonly Kind[],
): Promise<{ found: Contestant[]; absent: string[] }> {
  await writeCertificates(paths.folder);
  const absent: string[] = [];
  const found: Contestant[] = [];
  for (const kind of [...OWN, ...others, ...PEERS]) {
    if (kind.binary !== undefined && !existsSync(kind.binary)) {
      absent.push(`${kind.name}: there is no ${kind.binary}; ${kind.install}`);
      continue;
    }
    found.push({
      name: kind.name,
      version: versionOf(kind),
      isPeer: kind.binary !== undefined,
      isTunedForBulk: kind.isTunedForBulk ?? false,
      threads: kind.threads,
      async start(options) {
        const block = ++taken;
        const [egress, ingress] = [`127.76.${block}.1`, `127.76.${block}.2`];
        const addresses = { egress, ingress, upstream: options.relay ?? ingress };
        const [before, behind] = await kind.programs(addresses, paths, options);
        const second = await start(behind, { host: ingress, port: PORT });
        const first = await start(before, { host: egress, port: PORT });
        return { processes: [first, second], host: egress, ingress };
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
