import { once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { describeError } from "../../runtime/errors.ts";
import type { CredentialsInUse } from "../current-credentials.ts";
import { MeshProxyError } from "../errors.ts";
import type { Family } from "../exposition.ts";
import { type Beginning, type Message, type Request, toClone } from "./messages.ts";

/** The threads beside the main one, as it sees them. */
export class Threads {
  readonly #workers: readonly Worker[];
  /** Rejects where one has ended: its connections are gone then, and no other thread has its part of the limits. */
  readonly failed: Promise<never>;

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
    const { promise, reject } = Promise.withResolvers<never>();
    for (const worker of workers) {
      worker.once("error", (error) => reject(ended(describeError(error), error)));
      worker.once("exit", (code) => reject(ended(`exit code ${code}`)));
    }
    // Whoever waits for something else meanwhile hears of it later.
    promise.catch(() => {});
    this.failed = promise;
  }

  /**
   * @param program the file that starts the program; with the argument `thread`, in a thread, it starts program.ts of this folder
   * @param beginnings one for each thread
   * @returns when all accept connections
   * @throws MeshProxyError `thread`
   */
  static async start(program: string, beginnings: readonly Beginning[]): Promise<Threads> {
    const workers = beginnings.map((workerData) => new Worker(program, { argv: ["thread"], workerData }));
    const threads = new Threads(workers);
    const accepting = workers.map(async (worker) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      worker.once("message", () => resolve());
      return promise;
    });
    await Promise.race([Promise.all(accepting), threads.failed]);
    return threads;
  }

  /** @returns when all of them make new connections with the new set */
  async use(credentials: CredentialsInUse): Promise<void> {
    await this.#ask({ do: "use", credentials: toClone(credentials) });
  }

  async counted(): Promise<Family[][]> {
    return (await this.#ask({ do: "count" })) as Family[][];
  }

  /** As `Proxy.stopIngress`. @returns when all have done it */
  async stopIngress(): Promise<void> {
    await this.#ask({ do: "stop ingress" });
  }

  /** As `Proxy.close`. */
  async close(graceMs: number, atOnce: AbortSignal): Promise<boolean> {
    atOnce.addEventListener("abort", () => void this.#ask({ do: "close at once" }));
    const isDrained = await this.#ask({ do: "close", graceMs });
    return isDrained.every((one) => one === true);
  }

  /** @returns the answers of all threads; of one that has ended there is none, ever */
  async #ask(request: Request): Promise<unknown[]> {
    return Promise.all(
      this.#workers.map(async (worker) => {
        const { port1, port2 } = new MessageChannel();
        worker.postMessage({ request, answer: port2 } satisfies Message, [port2]);
        const [answer] = (await once(port1, "message")) as unknown[];
        port1.close();
        return answer;
      }),
    );
  }
}

function ended(got: string, cause?: unknown): MeshProxyError {
  return new MeshProxyError("thread", "a thread of the proxy has ended", { got, cause });
}
