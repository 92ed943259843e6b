import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DEFAULT_POLICY, type Guest, OWN_FOLDER, POLICIES, UNITS } from "./kata.ts";
import type { RootFileSystem } from "./root-file-system.ts";

const CHECK = `${OWN_FOLDER}/guest-check`;
const DROP_IN = `${UNITS}/kata-agent.service.d`;

/** Replaces the default policy, and puts the check before the agent. @param check the program */
export async function harden(root: RootFileSystem, { agent }: Guest, check: Buffer): Promise<void> {
  const policies = (await root.list(POLICIES)).map((name) => `${POLICIES}/${name}`);
  await root.apply({
    // The others, one of which allows everything, are no more than what a kernel parameter could name.
    remove: policies,
    folders: [OWN_FOLDER, DROP_IN],
    files: [
      { path: DEFAULT_POLICY, mode: 0o644, content: await readFile(join(import.meta.dirname, "default-policy.rego")) },
      { path: CHECK, mode: 0o755, content: check },
      { path: `${DROP_IN}/contrast.conf`, mode: 0o644, content: Buffer.from(dropIn(agent)) },
    ],
  });
}

/** systemd.unit(5): an empty ExecStart drops those before it. */
function dropIn(agent: string): string {
  return `# The agent starts when the initdata is what the CPU reports, with a /dev of its own until it has read it.
[Service]
ExecStart=
ExecStart=${CHECK} ${agent}
PrivateMounts=yes
FailureAction=poweroff-force
`;
}
