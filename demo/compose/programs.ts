import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { ComposeError } from "./engine.ts";

export interface RunOptions {
  readonly environment?: NodeJS.ProcessEnv;
  /** The beginning of the command line, before Node. */
  readonly before?: readonly string[];
  readonly stdout?: "ignore" | "inherit";
  /** The codes that it may end with. */
  readonly codes?: readonly number[];
}

/** Programs of the checkout. They are told to end when this one is. */
export class Programs {
  readonly #root: string;
  readonly #stop: AbortSignal;

  constructor(root: string, stop: AbortSignal) {
    this.#root = root;
    this.#stop = stop;
  }

  /**
   * Runs one to its end; what it says on stderr is shown.
   *
   * @returns its exit code
   * @throws ComposeError not_started where that is none of `codes`
   */
  async run(
    [file = "", ...options]: readonly string[],
    { environment = process.env, before = [], stdout = "ignore", codes = [0] }: RunOptions = {},
  ): Promise<number> {
    this.#stop.throwIfAborted();
    const [command = "", ...args] = [...before, process.execPath, join(this.#root, file), ...options];
    const child = spawn(command, args, { cwd: this.#root, env: environment, stdio: ["ignore", stdout, "inherit"] });
    const kill = (): void => void child.kill();
    this.#stop.addEventListener("abort", kill, { once: true });
    const [code] = (await once(child, "close")) as [number | null];
    this.#stop.removeEventListener("abort", kill);
    if (code !== null && codes.includes(code)) return code;
    throw new ComposeError("not_started", `${file} ended with ${code}`, { where: options.at(-1) });
  }
}
