import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** `sev-snp-measure` of virtee, which computes the same in Python. */

/** Where .ci/sev-snp-measure puts it. */
const PYTHON = join(import.meta.dirname, "../../node_modules/.cache/sev-snp-measure-0.0.13/bin/python3");
const WORKS = spawnSync(PYTHON, ["-c", "import sevsnpmeasure"]).status === 0;

/** Why nothing can be compared here; undefined: it can. */
export const NO_ORACLE = WORKS ? undefined : "there is no sev-snp-measure; .ci/sev-snp-measure installs it";

export interface OracleCase {
  readonly firmware: Buffer;
  readonly kernel?: Buffer | undefined;
  readonly initrd?: Buffer | undefined;
  readonly commandLine?: string | undefined;
  readonly vcpus: number;
  /** A name of its list, or the signature itself. */
  readonly vcpu: string | number;
  readonly features: bigint;
}

const DRIVER = `
import json, sys
from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
answers = []
for case in json.load(sys.stdin):
    vcpu = case["vcpu"]
    sig = vcpu_types.CPU_SIGS[vcpu] if isinstance(vcpu, str) else vcpu
    answers.append(guest.calc_launch_digest(SevMode.SEV_SNP, case["vcpus"], sig, case["firmware"], case.get("kernel"),
        case.get("initrd"), case.get("commandLine"), int(case["features"])).hex())
json.dump(answers, sys.stdout)
`;

/** All of them at once: Python takes its time to start. */
export function askOracle(cases: readonly OracleCase[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), "measure-test-"));
  try {
    const put = (name: string, bytes: Buffer | undefined): string | undefined => {
      if (bytes === undefined) return undefined;
      writeFileSync(join(folder, name), bytes);
      return join(folder, name);
    };
    const written = cases.map((given, index) => ({
      ...given,
      features: `${given.features}`,
      firmware: put(`firmware-${index}`, given.firmware),
      kernel: put(`kernel-${index}`, given.kernel),
      initrd: put(`initrd-${index}`, given.initrd),
    }));
    return JSON.parse(python(DRIVER, JSON.stringify(written))) as string[];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The models of vCPUs that it knows, with their signatures. */
export function oracleVcpuTypes(): Record<string, number> {
  const script = "import json; from sevsnpmeasure import vcpu_types; print(json.dumps(vcpu_types.CPU_SIGS))";
  return JSON.parse(python(script, "")) as Record<string, number>;
}

/**
 * @param paths of the keys, PEM
 * @returns what it makes of a measurement: ID block and its authentication in base64, digests of the keys
 */
export function oracleIdBlock(
  measurement: Buffer,
  paths: { readonly id: string; readonly author: string },
): { readonly block: Buffer; readonly auth: Buffer; readonly idKeyDigest: Buffer; readonly authorKeyDigest: Buffer } {
  const script =
    "import sys; from sevsnpmeasure.id_block import snp_calc_id_block as f; print(f(bytes.fromhex(sys.argv[1]), *sys.argv[2:]))";
  const output = python(script, "", measurement.toString("hex"), paths.id, paths.author);
  const [, block = "", auth = "", id = "", author = ""] =
    /id-block=(\S+),id-auth=(\S+)\nid_key_hash: (\S+)\nauthor_key: (\S+)/.exec(output) ?? [];
  const bytes = (text: string): Buffer => Buffer.from(text, "base64");
  return { block: bytes(block), auth: bytes(auth), idKeyDigest: bytes(id), authorKeyDigest: bytes(author) };
}

function python(script: string, input: string, ...args: readonly string[]): string {
  return execFileSync(PYTHON, ["-c", script, ...args], { input, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
}
