import { type Profiler, Session } from "node:inspector";

/**
 * How much of the program was run, as V8 counts it (block coverage of the inspector protocol), of what is compiled
 * after this was made. Asking takes a millisecond, so a campaign asks once for many inputs.
 */
export class Coverage {
  readonly #session = new Session();
  /** By function: its source's characters, 1 where they were run. */
  readonly #seen = new Map<string, Uint8Array>();
  #size = 0;

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** How many characters of source were run so far. */
  get size(): number {
    return this.#size;
  }

  /** @returns whether something was run, since it was last asked, that was never run before */
  hasNew(): boolean {
    return this.#take().some(({ key, run }) => count(run, this.#seen.get(key)) > 0);
  }

  /** As `hasNew`; from now on it has been seen. */
  addNew(): boolean {
    const before = this.#size;
    for (const { key, run } of this.#take()) {
      const seen = this.#seen.get(key) ?? new Uint8Array(run.length);
      this.#size += count(run, seen);
      this.#seen.set(
        key,
        seen.map((known, at) => known | (run[at] ?? 0)),
      );
    }
    return this.#size > before;
  }

  close(): void {
    this.#session.disconnect();
  }

  #take(): readonly Run[] {
    let scripts: readonly Profiler.ScriptCoverage[] = [];
    // Answered before it returns: the session is this thread's own.
    this.#session.post("Profiler.takePreciseCoverage", (_, answer) => {
      scripts = answer.result;
    });
    return scripts
      .filter(({ url }) => url !== "" && !url.startsWith("node:") && !url.startsWith(OWN))
      .flatMap(({ scriptId, functions }) => functions.flatMap(({ ranges }) => runOf(scriptId, ranges)));
  }
}

/** Mutating is no progress. */
const OWN = new URL(".", import.meta.url).href;

/** What was run of a function. */
interface Run {
  readonly key: string;
  readonly run: Uint8Array;
}

/** @param ranges the function's own, then those within it; V8 leaves out a range that was run as often as the one around it */
function runOf(scriptId: string, ranges: readonly Profiler.CoverageRange[]): readonly Run[] {
  const [whole] = ranges;
  if (whole === undefined) return [];
  const { startOffset: start, endOffset: end } = whole;
  const run = new Uint8Array(end - start);
  for (const { startOffset, endOffset, count } of ranges) {
    run.fill(count > 0 ? 1 : 0, startOffset - start, endOffset - start);
  }
  return [{ key: `${scriptId}:${start}-${end}`, run }];
}

/** How many are in `run` and not in `seen`. */
function count(run: Uint8Array, seen: Uint8Array | undefined): number {
  return run.reduce((sum, ran, at) => sum + (ran & ~(seen?.[at] ?? 0)), 0);
}
