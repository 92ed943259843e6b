import { findFastPath } from "../mesh-proxy/fast-path.ts";
import { publicWay, type Way } from "../mesh-proxy/pump.ts";
import { carryBy } from "../mesh-proxy/splice.ts";

/** How a mesh proxy reads and writes: as it does on this Node, and as it would on one whose internals are unknown. */
export const WAYS = ["the fast path", "the public interface"] as const;
type WayName = (typeof WAYS)[number];

/** @throws where this Node does not have it */
export async function wayOf(name: WayName): Promise<Way> {
  const way = name === "the fast path" ? await findFastPath() : publicWay;
  if (way === undefined) throw new Error("this Node has no fast path");
  return way;
}

let isChosen = false;

/** Of all mesh proxies of this process, from now on. */
export async function carryOver(name: WayName): Promise<void> {
  carryBy(await wayOf(name));
  isChosen = true;
}

/** As the program does, unless a test has chosen. */
export async function carryAsTheProgram(): Promise<void> {
  if (!isChosen) await carryOver("the fast path");
}
