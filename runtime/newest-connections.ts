import type { Socket } from "node:net";

/**
 * Connections to a port that anybody may use and that answers at once. Each has an end, and where there are too many the
 * oldest one goes: idle peers can't keep the kubelet out.
 */
export class NewestConnections {
  readonly #most: number;
  readonly #lifetimeMs: number;
  /** In the order of their arrival, as every Set. */
  readonly #open = new Set<Socket>();

  constructor(most: number, lifetimeMs: number) {
    this.#most = most;
    this.#lifetimeMs = lifetimeMs;
  }

  /** @returns what lifts the limit of its time */
  add(socket: Socket): () => void {
    const [oldest] = this.#open;
    if (oldest !== undefined && this.#open.size >= this.#most) {
      this.#open.delete(oldest);
      oldest.destroy();
    }
    this.#open.add(socket);
    const timer = setTimeout(() => socket.destroy(), this.#lifetimeMs);
    socket.on("close", () => {
      clearTimeout(timer);
      this.#open.delete(socket);
    });
    return () => clearTimeout(timer);
  }

  destroyAll(): void {
    for (const socket of this.#open) socket.destroy();
  }
}
