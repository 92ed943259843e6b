/** What the demo says while it works: each line with the seconds since the start; outcomes stand out. */
export class Report {
  readonly #write: (text: string) => void;
  readonly #seconds: () => number;
  #failed = 0;
  #passed = 0;

  /** @param seconds since the start */
  constructor(write: (text: string) => void, seconds: () => number) {
    this.#write = write;
    this.#seconds = seconds;
  }

  get failed(): number {
    return this.#failed;
  }

  get passed(): number {
    return this.#passed;
  }

  progress(text: string): void {
    this.#write(`${this.#seconds().toFixed(1).padStart(5)}s  ${text}\n`);
  }

  /** One line of outcome. `check` gives what was seen, or throws what was wrong. */
  async outcome(promise: string, check: () => Promise<string>): Promise<void> {
    try {
      const seen = await check();
      this.#passed++;
      this.progress(`ok      ${promise}: ${seen}`);
    } catch (error) {
      this.#failed++;
      this.progress(`FAILED  ${promise}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** @throws where the promise is not kept */
export function must(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}
