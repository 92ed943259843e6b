import { Socket } from "node:net";
import { expect, test } from "vitest";
import { MemoryWatch, type Watched } from "./memory-watch.ts";

const MIB = 2 ** 20;

/** Connections of sources, for which the kernel holds so many MiB; and which of them are reset. */
function watching(held: readonly (readonly [source: string, mib: number])[], excess: number): string[] {
  const bytes = new Map<Socket, number>();
  const reset: string[] = [];
  const watch = new MemoryWatch((socket) => bytes.get(socket) ?? 0);
  held.forEach(([source, mib]) => {
    const socket = new Socket();
    bytes.set(socket, mib * MIB);
    const connection: Watched = { source, sockets: [socket], shed: () => reset.push(`${source} ${mib}`) };
    watch.add(connection);
  });
  watch.shed(excess * MIB);
  return reset;
}

test("the source for which the kernel holds most comes first, and its largest connection", () => {
  const held = [
    ["a", 1],
    ["a", 4],
    ["a", 3],
    ["b", 5],
  ] as const;
  expect(watching(held, 3)).toEqual(["a 4"]);
  expect(watching(held, 5)).toEqual(["a 4", "b 5"]);
});

test("who holds little is left alone, whatever takes the memory", () => {
  expect(watching([["a", 0.05]], 10)).toEqual([]);
});
