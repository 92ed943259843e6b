import { isDeepStrictEqual } from "node:util";
import { type Answer, apply, type Engine, NO_OPA, type Question, startOpa } from "./test-opa.ts";
import { NO_REGORUS, type Reply, startRegorus } from "./test-regorus.ts";

/** Every engine that is here: OPA, and the agent's own. What the tests ask, both answer, and they have to agree. */

/** Why tests of policies can't run here; undefined: they can. */
export const NO_ENGINE =
  NO_OPA !== undefined && NO_REGORUS !== undefined
    ? "there is no Rego engine; .ci/opa and .ci/regorus build them where there is Go or Rust"
    : undefined;

/** @throws Error when a policy is not taken, or when the engines don't agree on an answer */
export async function startEngine(policies: Readonly<Record<string, string>>): Promise<Engine> {
  const opa = NO_OPA === undefined ? await startOpa(policies) : undefined;
  const regorus = NO_REGORUS === undefined ? await startRegorus(policies) : undefined;
  return {
    ask: async (questions) => {
      const [answers, replies] = await Promise.all([opa?.ask(questions), regorus?.ask(questions.map(withState))]);
      const own = replies?.map(({ value }) => value ?? undefined);
      for (const [index, question] of questions.entries()) check(question, answers?.[index], replies?.[index], answers);
      return answers ?? own ?? [];
    },
    stop: async () => {
      await opa?.stop();
      await regorus?.stop();
    },
  };
}

function withState(question: Question): Question {
  return { ...question, state: question.state ?? {} };
}

function check(question: Question, answer: Answer, reply: Reply | undefined, answers: readonly Answer[] | undefined) {
  if (reply === undefined) return;
  const what = `${question.policy}: ${question.kind} of ${JSON.stringify(question.request).slice(0, 2000)}`;
  const value = reply.value ?? undefined;
  if (answers !== undefined && !isDeepStrictEqual(answer, value)) {
    throw new Error(`opa says ${JSON.stringify(answer)}, regorus ${JSON.stringify(value)}, ${reply.message}: ${what}`);
  }
  const after = apply(question.state ?? {}, value);
  if (!isDeepStrictEqual(after, reply.state)) {
    throw new Error(`the agent remembers ${JSON.stringify(reply.state)}, not ${JSON.stringify(after)}: ${what}`);
  }
}
