import { findFastPath } from "../mesh-proxy/fast-path.ts";
import { publicWay } from "../mesh-proxy/pump.ts";
import { carryBy } from "../mesh-proxy/splice.ts";

/** How a mesh proxy reads and writes: as it does on this Node, and as it would on one whose internals are unknown. */
export const WAYS = ["the fast path", "the public interface"] as const;
export type WayName = (typeof WAYS)[number];

let chosen: WayName | undefined;

/** Of all mesh proxies of this process, from now on. */
export async function carryOver(way: WayName): Promise<void> {
  const found = way === "the fast path" ? await findFastPath() : publicWay;
  if (found === undefined) throw new Error("this Node has no fast path");
  carryBy(found);
  chosen = way;
}

/** As the program does, unless a test has chosen. */
export async function carryAsTheProgram(): Promise<void> {
  if (chosen === undefined) await carryOver("the fast path");
}
