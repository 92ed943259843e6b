import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** Runs Spin on a model of docs/model/ and reads what its verifier says. */

const run = promisify(execFile);

const MODELS = join(import.meta.dirname, "../docs/model");

/** Of one search. */
const MEMORY_MIB = 1500;
const SEARCH_MS = 300_000;

/** Steps. A search that needs more says so, and counts as not completed. */
const DEPTH = 200_000;

export interface Search {
  /** A file in docs/model/. */
  readonly model: string;
  /** For the preprocessor of Promela: `NAME` or `NAME=value`. */
  readonly defines: readonly string[];
  /** Checks the formula of LTL of this name, under weak fairness; undefined: the assertions. */
  readonly formula?: string;
}

export interface Outcome {
  /** What was violated: the text of an assertion, or "acceptance cycle"; undefined: nothing. */
  readonly violated: string | undefined;
  readonly states: number;
}

/** @throws where the search was not completed, or the verifier says something that is not known here */
export async function search({ model, defines, formula }: Search): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "contrast-model-"));
  const step = (program: string, ...args: readonly string[]): Promise<string> => runIn(folder, program, args);
  try {
    await step("spin", "-a", ...defines.map((define) => `-D${define}`), join(MODELS, model));
    // Processes under weak fairness are counted in bytes of eight: there are fewer than 64.
    const kind = formula === undefined ? "-DSAFETY" : "-DNFAIR=8";
    await step("gcc", "-O2", "-w", kind, "-DCOLLAPSE", `-DMEMLIM=${MEMORY_MIB}`, "-o", "pan", "pan.c");
    const wanted = formula === undefined ? [] : ["-a", "-f", "-N", formula];
    // Not of interest (-E, -n): that all can end up waiting, where pointers are used up; what a variant does not reach.
    const said = await step("./pan", `-m${DEPTH}`, "-E", "-n", ...wanted);
    return outcomeOf(said, formula !== undefined);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * @param said what the verifier printed
 * @throws where this is not the output of a search that was completed, or of one that found an error
 */
export function outcomeOf(said: string, isFair: boolean): Outcome {
  const refuse = (reason: string): never => {
    throw new Error(`${reason}:\n${said}`);
  };
  const states = /^ *(\d+(?:\.\d+e\+\d+)?) states, stored/m.exec(said)?.[1];
  const errors = /^State-vector \d+ byte, depth reached \d+, errors: (\d+)$/m.exec(said)?.[1];
  if (states === undefined || errors === undefined) return refuse("the verifier printed no result");
  const cut = ["max search depth too small", "reached -DMEMLIM", "out of memory"].find((sign) => said.includes(sign));
  if (cut !== undefined) return refuse(`the search was cut short (${cut})`);
  if (!/^Full statespace search for:$/m.test(said)) return refuse("the search was not a full one");
  if (!(isFair ? /acceptance +cycles\s+\+ \(fairness enabled\)/ : /assertion violations\t\+/).test(said)) {
    return refuse("the verifier did not look for what it should");
  }
  const violated = /^pan:1: (?:assertion violated (.*?)|(acceptance cycle)) \(at depth \d+\)$/m.exec(said);
  if (errors === "1" && violated !== null) {
    // An assertion is `!(name of what must not be)`.
    return { violated: (violated[1] ?? violated[2] ?? "").replace(/^ *!\((\w+)\)$/, "$1"), states: Number(states) };
  }
  if (errors !== "0" || violated !== null) return refuse("the verifier found an error of another kind");
  if (said.includes("Search not completed")) return refuse("the search was not completed");
  return { violated: undefined, states: Number(states) };
}

async function runIn(cwd: string, program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(program, args, { cwd, timeout: SEARCH_MS, killSignal: "SIGKILL", maxBuffer: 2 ** 24 });
  return stdout;
}
