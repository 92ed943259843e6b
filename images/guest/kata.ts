import { parse } from "yaml";
import { GuestImageError } from "./error.ts";
import type { RootFileSystem } from "./root-file-system.ts";

/** What a guest image of Kata has, and what it must not have. */

export const POLICIES = "/etc/kata-opa";
/** kata-containers, src/agent/policy/src/policy.rs: POLICY_DEFAULT_FILE */
export const DEFAULT_POLICY = `${POLICIES}/default-policy.rego`;
/** Where an agent that was built with initdata writes it: src/agent/src/initdata.rs, INITDATA_TOML_PATH. */
const INITDATA = "/run/confidential-containers/initdata/initdata.toml";
const INITDATA_PARTS = INITDATA.slice(0, INITDATA.lastIndexOf("/"));

export const UNITS = "/usr/lib/systemd/system";
export const OWN_FOLDER = "/usr/lib/contrast";
const UNIT = "kata-agent.service";
const OVERRIDES = "/etc/systemd/system";
/** tools/osbuilder/scripts/lib.sh: create_summary_file */
const SUMMARY = "/var/lib/osbuilder/osbuilder.yaml";

/** Units of other guests, in which these serve before the agent has initdata. */
const OTHER_UNITS = ["attestation-agent", "confidential-data-hub", "api-server-rest", "process-user-data"];

/** ELF: e_machine of such programs. */
const X86_64 = 62;

/** The first that is supported, and the first that nobody has looked at. */
const FROM = [3, 30];
const BELOW = [4, 2];
export const SUPPORTED = `${FROM.join(".")} and later, below ${BELOW.join(".")}`;

export interface Guest {
  readonly kataVersion: string;
  /** The program that the unit starts. */
  readonly agent: string;
}

/**
 * @param assumedVersion of Kata, where the image names none
 * @throws GuestImageError agent_missing, init_unknown, kata_version_unknown, guest_unknown, already_hardened
 */
export async function readGuest(root: RootFileSystem, assumedVersion: string | undefined): Promise<Guest> {
  if ((await root.stat(OWN_FOLDER)) !== undefined) {
    throw new GuestImageError("already_hardened", "this image has been hardened already", {
      hint: "take the one of Kata",
    });
  }
  const summary = await readSummary(root);
  await checkInit(root, summary.agentIsInit);
  const agent = await readAgent(root);
  const kataVersion = checkVersion(summary.version ?? assumedVersion);
  await checkOthers(root);
  return { kataVersion, agent };
}

interface Summary {
  readonly version: string | undefined;
  readonly agentIsInit: boolean;
}

async function readSummary(root: RootFileSystem): Promise<Summary> {
  if ((await root.stat(SUMMARY))?.kind !== "file") return { version: undefined, agentIsInit: false };
  let agent: Readonly<Record<string, unknown>>;
  try {
    const summary = parse((await root.read(SUMMARY)).toString()) as Readonly<Record<string, unknown>> | null;
    agent = Object(summary?.["agent"]) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new GuestImageError("guest_unknown", "the summary of the image is no YAML", { where: SUMMARY, cause: error });
  }
  const version = typeof agent["version"] === "string" ? agent["version"].trim() : "unknown";
  return {
    version: version === "unknown" || version === "" ? undefined : version,
    agentIsInit: agent["agent-is-init-daemon"] === "yes",
  };
}

async function checkInit(root: RootFileSystem, agentIsInit: boolean): Promise<void> {
  const path = (await root.stat("/usr/sbin/init")) === undefined ? "/sbin/init" : "/usr/sbin/init";
  const isLink = (await root.stat(path))?.kind === "link";
  const target = isLink ? await root.readLink(path) : path;
  if (!agentIsInit && target.endsWith("/systemd")) return;
  throw new GuestImageError("init_unknown", "the first process of this guest is not systemd", {
    where: path,
    got: agentIsInit ? "the agent itself (AGENT_INIT=yes)" : target,
    want: "a link to systemd",
    hint: "take kata-containers-confidential.img; images for GPUs and images with the agent as init are not supported",
  });
}

async function readAgent(root: RootFileSystem): Promise<string> {
  const unit = `${UNITS}/${UNIT}`;
  const missing = (where: string, got: string): GuestImageError =>
    new GuestImageError("agent_missing", "the image has no agent that systemd starts", { where, got });
  if ((await root.stat(unit))?.kind !== "file") throw missing(unit, "no unit");
  const starts = [...(await root.read(unit)).toString().matchAll(/^ExecStart=(.*)$/gm)].map(
    ([, command = ""]) => command,
  );
  const [agent = ""] = starts;
  if (starts.length !== 1 || !/^\/[\w./-]+$/.test(agent)) throw missing(unit, `ExecStart=${starts.join(", ")}`);
  const entry = await root.stat(agent);
  if (entry?.kind !== "file" || !entry.isExecutable) throw missing(agent, "no program");
  const program = await root.read(agent);
  if (!program.subarray(0, 4).equals(Buffer.from("\x7fELF", "latin1"))) throw missing(agent, "no ELF program");
  if (program.length < 20 || program.readUInt16LE(18) !== X86_64) {
    throw new GuestImageError("guest_unknown", "the agent is for another architecture", {
      where: agent,
      want: "x86-64",
    });
  }
  for (const [text, what] of [
    [DEFAULT_POLICY, "policies (AGENT_POLICY=yes)"],
    [INITDATA_PARTS, "initdata"],
  ] as const) {
    if (!program.includes(text)) {
      throw new GuestImageError("guest_unknown", `the agent was built without ${what}`, { where: agent });
    }
  }
  return agent;
}

function checkVersion(version: string | undefined): string {
  const parts = /^(\d+)\.(\d+)\.\d+$/
    .exec(version ?? "")
    ?.slice(1)
    .map(Number);
  const isBelow = ([major = 0, minor = 0]: readonly number[], [otherMajor = 0, otherMinor = 0]: readonly number[]) =>
    major < otherMajor || (major === otherMajor && minor < otherMinor);
  if (version !== undefined && parts !== undefined && !isBelow(parts, FROM) && isBelow(parts, BELOW)) return version;
  throw new GuestImageError("kata_version_unknown", "this version of Kata is not supported", {
    where: SUMMARY,
    got: version ?? "no version",
    want: SUPPORTED,
    hint: version === undefined ? "say which it is: --kata-version 4.1.0" : undefined,
  });
}

async function checkOthers(root: RootFileSystem): Promise<void> {
  const found = [];
  for (const folder of [UNITS, OVERRIDES]) {
    const names = await root.list(folder);
    const known = folder === UNITS ? [UNIT] : [];
    found.push(
      ...names
        .filter((name) => name.startsWith(UNIT) && !known.includes(name))
        .concat(names.filter((name) => OTHER_UNITS.some((other) => name === `${other}.service`)))
        .map((name) => `${folder}/${name}`),
    );
  }
  if ((await root.stat(DEFAULT_POLICY)) === undefined) found.push(`no ${DEFAULT_POLICY}`);
  const [first] = found;
  if (first === undefined) return;
  throw new GuestImageError("guest_unknown", "this guest starts in another way than Kata's", {
    got: first,
    want: `${UNITS}/${UNIT} alone, and ${DEFAULT_POLICY}`,
    hint: "take an image as Kata builds it",
  });
}
