import { once } from "node:events";
import { createServer } from "node:net";

/**
 * A block of 127/8 that no other demo has: every process listens on addresses of its own in it. The lock is a socket
 * that listens on an address of the block, so that the kernel decides between two demos, and lets go of the block
 * however the demo ends.
 */
export class AddressBlock {
  /** The first two numbers of its addresses. */
  readonly #prefix: string;

  private constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Takes the first free one; it belongs to this process until that ends. @throws if there is none */
  static async take(): Promise<AddressBlock> {
    for (let number = FIRST; number <= LAST; number++) {
      if (await takes(`127.${number}`)) return new AddressBlock(`127.${number}`);
    }
    throw new Error(`no block of addresses is free: port ${LOCK_PORT} is in use in 127.${FIRST} to 127.${LAST}`);
  }

  /** Where the Coordinator listens. */
  get coordinator(): string {
    return `${this.#prefix}.0.1`;
  }

  /** Where somebody listens that is not part of the deployment. */
  get stranger(): string {
    return `${this.#prefix}.0.66`;
  }

  /** Where the world reaches a pod: its mesh proxy listens there. */
  pod(index: number): string {
    return `${this.#prefix}.${index}.1`;
  }

  /** Where the application of a pod listens. */
  application(index: number): string {
    return `${this.#prefix}.${index}.2`;
  }

  /** Moves the egress listeners of a deployment file into the block: in a cluster every pod has 127/8 to itself. */
  moveEgress(yaml: string): string {
    return yaml.replaceAll(/\b127\.137\.0\.(\d+):/g, `${this.#prefix}.137.$1:`);
  }
}

/** Beyond the addresses that the tests use. */
const FIRST = 150;
const LAST = 249;
const LOCK_PORT = 1300;

/** @returns whether this process has the block from now on */
async function takes(prefix: string): Promise<boolean> {
  const lock = createServer((socket) => socket.destroy());
  lock.listen(LOCK_PORT, `${prefix}.255.254`);
  try {
    await once(lock, "listening");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false;
    throw error;
  }
  lock.unref();
  return true;
}
