import { type ProcessStat, runningProcess } from "../runtime/process-stat.ts";

/** Whether the shell that started a program is still there. Not every shell that ends sends SIGHUP to what it started. */

/** The processes between this one and the start of its session: npm, the shell, whatever called the shell. */
export class Starter {
  readonly #ancestors: readonly ProcessStat[];

  constructor(pid: number, parent: number) {
    const session = runningProcess(pid)?.session;
    const ancestors: ProcessStat[] = [];
    for (
      let next = runningProcess(parent);
      next !== undefined && next.session === session;
      next = runningProcess(next.parent)
    ) {
      ancestors.push(next);
    }
    this.#ancestors = ancestors;
  }

  /** Whether one of them ended. */
  get isGone(): boolean {
    return this.#ancestors.some(({ pid, startTime }) => runningProcess(pid)?.startTime !== startTime);
  }
}
