import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Answer, Question, State } from "./test-opa.ts";

/** The agent's own Rego engine, in a program that answers as the agent does (engine/). */

/** Where .ci/regorus puts it. */
export const POLICY_ENGINE = join(import.meta.dirname, "../node_modules/.cache/policy-engine/release/policy-engine");

/** Why it can't run here; undefined: it can. */
export const NO_REGORUS = existsSync(POLICY_ENGINE)
  ? undefined
  : "there is no policy engine; .ci/regorus builds it where there is Rust";

/** What the agent makes of a request. */
export interface Reply {
  readonly allowed: boolean;
  /** What the runtime is told of a refusal. */
  readonly message: string;
  readonly value: Answer | null;
  readonly state: State;
  readonly microseconds: number;
}

export interface Regorus {
  readonly ask: (questions: readonly Question[]) => Promise<Reply[]>;
  readonly stop: () => Promise<void>;
}

/**
 * @param program of engine/
 * @throws Error with what the engine says of a policy that it refuses
 */
export async function startRegorus(
  policies: Readonly<Record<string, string>>,
  program: string = POLICY_ENGINE,
): Promise<Regorus> {
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const send = async (messages: readonly object[]): Promise<unknown[]> => {
    child.stdin.write(messages.map((message) => `${JSON.stringify(message)}\n`).join(""));
    const answers: unknown[] = [];
    while (answers.length < messages.length) {
      const line = await lines.next();
      if (line.done === true) throw new Error("the policy engine ended");
      answers.push(JSON.parse(line.value));
    }
    return answers;
  };
  const stop = async (): Promise<void> => {
    child.stdin.end();
    await exited;
  };
  const loaded = await send(Object.entries(policies).map(([policy, rego]) => ({ policy, rego })));
  const refused = loaded.map((answer) => (answer as { error?: string }).error).find((error) => error !== undefined);
  if (refused !== undefined) {
    await stop();
    throw new Error(refused);
  }
  return { ask: async (questions) => (await send(questions)) as Reply[], stop };
}
