/**
 * Why a Coordinator that has its secrets may serve nothing at this moment.
 *
 * - `forked`: there are two histories
 * - `moved`: the pointer is elsewhere: something else is in force
 * - `unconfirmed`: for too long the store has not said that it is still where it was
 * - `held`: what is in force is so new that nobody else has it yet
 */
export type Obstacle = "forked" | "moved" | "unconfirmed" | "held";

/** Times are of a clock that nobody sets, in milliseconds. */
export interface Facts {
  readonly forked: boolean;
  readonly moved: boolean;
  /** When the last look at the store began that found the pointer where it was. */
  readonly confirmedAt: number;
  /** Until when it waits for a peer that has the same. */
  readonly heldUntil: number;
}

/** @param boundMs how long a look at the store counts @returns undefined where nothing is in the way */
export function obstacleTo({ forked, moved, confirmedAt, heldUntil }: Facts, now: number, boundMs: number) {
  const obstacles: [Obstacle, boolean][] = [
    ["forked", forked],
    ["moved", moved],
    // Written so that a clock that is none is in the way.
    ["unconfirmed", !(now - confirmedAt <= boundMs)],
    ["held", !(now >= heldUntil)],
  ];
  return obstacles.find(([, isThere]) => isThere)?.[0];
}
