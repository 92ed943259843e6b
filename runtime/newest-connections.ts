import type { Socket } from "node:net";
import { sourceOf } from "./source.ts";

/**
 * Connections to a port that anybody may use and that answers at once. Each has an end, and where there are too many the
 * oldest one goes of the source that has most: neither idle peers nor a flood can keep the kubelet out.
 */
export class NewestConnections {
  readonly #most: number;
  readonly #lifetimeMs: number;
  /** In the order of their arrival, as every Set. */
  readonly #sources = new Map<string, Set<Socket>>();
  #count = 0;

  constructor(most: number, lifetimeMs: number) {
    this.#most = most;
    this.#lifetimeMs = lifetimeMs;
  }

  /** @returns what lifts the limit of its time */
  add(socket: Socket): () => void {
    const source = sourceOf(socket.remoteAddress ?? "0.0.0.0");
    if (this.#count >= this.#most) this.#makeRoom();
    this.#insert(source, socket);
    const timer = setTimeout(() => socket.destroy(), this.#lifetimeMs);
    socket.on("close", () => {
      clearTimeout(timer);
      this.#delete(source, socket);
    });
    return () => clearTimeout(timer);
  }

  #makeRoom(): void {
    let [most, from] = [new Set<Socket>(), ""];
    for (const [source, sockets] of this.#sources) if (sockets.size > most.size) [most, from] = [sockets, source];
    const [oldest] = most;
    if (oldest === undefined) return;
    this.#delete(from, oldest);
    oldest.destroy();
  }

  #insert(source: string, socket: Socket): void {
    const known = this.#sources.get(source);
    if (known === undefined) this.#sources.set(source, new Set([socket]));
    else known.add(socket);
    this.#count += 1;
  }

  #delete(source: string, socket: Socket): void {
    const known = this.#sources.get(source);
    if (known?.delete(socket) !== true) return;
    this.#count -= 1;
    if (known.size === 0) this.#sources.delete(source);
  }

  destroyAll(): void {
    for (const sockets of this.#sources.values()) for (const socket of sockets) socket.destroy();
  }
}
