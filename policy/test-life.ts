import { type Answer, apply, type Engine, isAllowed, type State } from "./test-opa.ts";
import { requestsFor } from "./test-pods.ts";
import { idOf } from "./test-mounts.ts";
import type { Request } from "./test-container.ts";
import type { ContainerRequests, PodRequests } from "./test-requests.ts";

/** One request after the other, with what the agent remembers in between. */

export interface Step extends Request {
  readonly what: string;
}

export interface Asked extends Step {
  /** Before it. */
  readonly state: State;
  readonly answer: Answer;
}

/** The life of a pod: its containers one after the other, their probes, then each container once more. */
export function lifeOf({ sandbox, containers }: PodRequests): Step[] {
  const first = containers.flatMap(stepsOf);
  const again = containers
    .slice(1)
    .flatMap((container) => [
      { ...container.remove, what: `remove ${container.name}` },
      ...stepsOf(withId(container, idOf(`${container.id} again`))),
    ]);
  return [{ ...sandbox, what: "the sandbox" }, ...first, ...again];
}

function stepsOf({ name, create, start, execs }: ContainerRequests): Step[] {
  return [
    { ...create, what: `create ${name}` },
    { ...start, what: `start ${name}` },
    ...execs.map((exec) => ({ ...exec, what: `exec in ${name}` })),
  ];
}

/** The same container, under another id. */
export function withId(container: ContainerRequests, id: string): ContainerRequests {
  return JSON.parse(JSON.stringify(container).replaceAll(container.id, id)) as ContainerRequests;
}

/** Plays lives side by side: each time the engine is asked about one step of every one. */
export async function play(
  engine: Engine,
  lives: Readonly<Record<string, readonly Step[]>>,
): Promise<Record<string, Asked[]>> {
  const asked: Record<string, Asked[]> = Object.fromEntries(Object.keys(lives).map((policy) => [policy, []]));
  const states: Record<string, State> = {};
  for (let round = 0; ; round++) {
    const questions = Object.entries(lives).flatMap(([policy, steps]) => {
      const step = steps[round];
      return step === undefined ? [] : [{ ...step, policy, state: states[policy] ?? {} }];
    });
    if (questions.length === 0) return asked;
    for (const [index, answer] of (await engine.ask(questions)).entries()) {
      const question = questions[index];
      if (question === undefined) continue;
      asked[question.policy]?.push({ ...question, answer });
      if (isAllowed(answer)) states[question.policy] = apply(question.state, answer);
    }
  }
}

/** With the containers before the last one running, and that one still to be made. */
export async function untilLast(
  engine: Engine,
  pod: string,
): Promise<{ readonly last: ContainerRequests; readonly state: State }> {
  const { all, last } = requestsFor(pod);
  const life = lifeOf(all);
  const { [pod]: asked = [] } = await play(engine, {
    [pod]: life.slice(
      0,
      life.findIndex(({ request }) => request === last.create.request),
    ),
  });
  const before = asked.at(-1);
  return { last, state: before === undefined ? {} : apply(before.state, before.answer) };
}
