import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import type { Request } from "./test-container.ts";

/** OPA, the engine that defines Rego: asks a policy what the agent would ask it. */

/** Where .ci/opa puts it. */
const CACHED = join(import.meta.dirname, "../node_modules/.cache/opa-v1.22.2/opa");
const OPA = [CACHED, "opa"].find((command) => spawnSync(command, ["version"]).status === 0);

/** Why tests of policies can't run here; undefined: they can. */
export const NO_OPA = OPA === undefined ? "there is no opa; .ci/opa installs it where there is Go" : undefined;

/** What the agent keeps for a policy (`data.pstate`). */
export type State = Readonly<Record<string, unknown>>;

export interface Question extends Request {
  /** A key of the policies. */
  readonly policy: string;
  readonly state?: State | undefined;
}

/** Undefined: the agent gets no answer, and refuses. */
export type Answer = boolean | { readonly allowed: boolean; readonly ops: readonly Operation[] } | undefined;

interface Operation {
  readonly op: "add" | "remove";
  readonly path: string;
  readonly value?: unknown;
}

const DRIVER = `package driver

import future.keywords.in

answers := [answer |
	some question in input
	answer := [answer |
		answer := data.policies[question.policy][question.kind] with input as question.request with data.pstate as question.state
	]
]
`;

/** An engine, with some policies, as long as it runs. */
export interface Engine {
  readonly ask: (questions: readonly Question[]) => Promise<Answer[]>;
  readonly stop: () => Promise<void>;
}

/** In Rego of before 1.0, as the agent's engine has it; at a socket of its own. */
export async function startOpa(policies: Readonly<Record<string, string>>): Promise<Engine> {
  // Each policy is called `agent_policy`; side by side they need names of their own.
  const names = Object.keys(policies);
  const files: Record<string, string> = { "driver.rego": DRIVER };
  for (const [index, rego] of Object.values(policies).entries()) {
    files[`${index}.rego`] = rego.replace("package agent_policy\n", `package policies.p${index}\n`);
  }
  const folder = await folderWith(files);
  const socketPath = join(folder, "opa.sock");
  const options = ["--v0-compatible", "--disable-telemetry", "--log-level=error", `--addr=unix://${socketPath}`];
  const child = spawn(OPA ?? "opa", ["run", "--server", ...options, ...Object.keys(files)], { cwd: folder });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (log += String(chunk)));
  const exited = once(child, "exit");
  const isUp = (): Promise<boolean> =>
    post(socketPath, "/v1/data/driver/answers", { input: [] }).then(
      () => true,
      () => false,
    );
  while (!(await isUp())) {
    if (child.exitCode !== null) throw new Error(`opa ended: ${log}`);
    await setTimeout(50);
  }
  return {
    ask: async (questions) => {
      const input = questions.map(({ policy, kind, request, state = {} }) => {
        return { policy: `p${names.indexOf(policy)}`, kind, request: request as unknown, state };
      });
      const text = await post(socketPath, "/v1/data/driver/answers", { input });
      const { result } = JSON.parse(text) as { result: Answer[][] };
      return result.map(([answer]) => answer);
    },
    stop: async () => {
      child.kill();
      await exited;
      await rm(folder, { recursive: true });
    },
  };
}

function post(socketPath: string, path: string, body: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method: "POST" }, (response) => {
      void text(response).then((answer) => {
        if (response.statusCode === 200) resolve(answer);
        else reject(new Error(`opa: ${answer.slice(0, 2000)}`));
      }, reject);
    });
    call.on("error", reject);
    call.end(JSON.stringify(body));
  });
}

export function isAllowed(answer: Answer): boolean {
  return typeof answer === "object" ? answer.allowed : answer === true;
}

/** The state after an answer, as the agent computes it (RFC 6902). */
export function apply(state: State, answer: Answer): State {
  const after = { ...state };
  if (typeof answer !== "object" || !answer.allowed) return after;
  for (const { op, path, value } of answer.ops) {
    const key = path.replace(/^\/pstate\//, "");
    if (key === path || /[/~]/.test(key)) throw new Error(`the agent can't apply ${path}`);
    if (op === "add") after[key] = value;
    else if (Object.hasOwn(after, key)) delete after[key];
    else throw new Error(`the agent can't remove ${path}`);
  }
  return after;
}

/** Runs `opa` on files of these names. */
export async function opa(files: Readonly<Record<string, string>>, args: readonly string[]): Promise<string> {
  const cwd = await folderWith(files);
  try {
    const { stdout } = await promisify(execFile)(OPA ?? "opa", args, { cwd });
    return stdout;
  } finally {
    await rm(cwd, { recursive: true });
  }
}

async function folderWith(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "contrast-opa-"));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}
