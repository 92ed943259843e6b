import { setTimeout as sleep } from "node:timers/promises";
import { CONFIRM_BOUND_MS } from "../../coordinator/state/bounds.ts";
import type { Chance } from "../../fuzz/mutate.ts";
import type { Coordinator } from "./coordinator.ts";
import type { Cut } from "./network.ts";
import type { SharedStore } from "./store.ts";

/** What happens in a round. Each ends with everything as it was, but for processes that have to begin again. */
export interface Fault {
  readonly name: string;
  /**
   * Whether a mesh CA may be replaced that nobody has set: nobody was left who knew the last one, or nobody could be asked
   * in time.
   */
  readonly mayLose: boolean;
  readonly run: (scene: Scene) => Promise<void>;
}

export interface Scene {
  readonly coordinators: readonly Coordinator[];
  readonly store: SharedStore;
  readonly chance: Chance;
  /** Longest time that something stands still or is cut off, in milliseconds. */
  readonly longestMs: number;
}

const kill = async (coordinator: Coordinator): Promise<void> => {
  await coordinator.kill();
  coordinator.start();
};

const time = ({ chance, longestMs }: Scene): Promise<void> => sleep(200 + chance.below(longestMs));

/** Of three, so many in an order of their own. */
function some({ coordinators, chance }: Scene, count: number): Coordinator[] {
  const left = [...coordinators];
  return Array.from({ length: count }, () => left.splice(chance.below(left.length), 1)).flat();
}

async function cut(scene: Scene, which: readonly Coordinator[], from: Cut): Promise<void> {
  for (const { place } of which) place.cut(from);
  await time(scene);
  for (const { place } of which) place.heal();
}

async function paused(scene: Scene, what: readonly { pause: () => void; resume: () => void }[]): Promise<void> {
  for (const one of what) one.pause();
  await time(scene);
  for (const one of what) one.resume();
}

async function killPart(scene: Scene, name: string): Promise<void> {
  const part = scene.store.parts.find((one) => one.name === name);
  if (part === undefined) throw new Error(`the store has no ${name}`);
  await part.stop();
  await sleep(scene.chance.below(2000));
  await part.start();
}

/** Long enough for a certificate to be issued too late. */
const BEYOND_BOUND_MS = CONFIRM_BOUND_MS + 6000;

const HOUR = 3_600_000;

/** Two hours forth or back, or a year: the manifest's own bounds, and those of certificates. */
const JUMPS = [2 * HOUR, -2 * HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR];

/** @param parts of the store */
export function faultsFor(parts: readonly string[]): readonly Fault[] {
  return [
    {
      name: "kill one",
      mayLose: false,
      run: async (scene) => {
        for (const one of some(scene, 1)) await kill(one);
      },
    },
    { name: "kill two", mayLose: true, run: async (scene) => void (await Promise.all(some(scene, 2).map(kill))) },
    { name: "kill all", mayLose: true, run: async (scene) => void (await Promise.all(some(scene, 3).map(kill))) },
    { name: "pause one", mayLose: true, run: (scene) => paused(scene, some(scene, 1)) },
    { name: "pause two", mayLose: true, run: (scene) => paused(scene, some(scene, 2)) },
    { name: "cut one from the store", mayLose: true, run: (scene) => cut(scene, some(scene, 1), "store") },
    { name: "cut all from the store", mayLose: false, run: (scene) => cut(scene, some(scene, 3), "store") },
    { name: "cut one from its peers", mayLose: true, run: (scene) => cut(scene, some(scene, 1), "peers") },
    {
      // Its clients still reach it: it may serve what it knows for so long, and no longer.
      name: "cut one from store and peers",
      mayLose: true,
      run: async (scene) => {
        const [one] = some(scene, 1);
        one?.place.cut("store");
        one?.place.cut("peers");
        await sleep(BEYOND_BOUND_MS);
        one?.place.heal();
      },
    },
    { name: "cut one from all", mayLose: true, run: (scene) => cut(scene, some(scene, 1), "all") },
    {
      name: "clock jump",
      mayLose: true,
      run: async (scene) => {
        const jumping = some(scene, 1 + scene.chance.below(2));
        for (const one of jumping) one.setClock(scene.chance.of(JUMPS));
        await time(scene);
        for (const one of jumping) one.setClock(0);
      },
    },
    {
      name: "full disk of a Coordinator",
      mayLose: false,
      run: async (scene) => {
        const [one] = some(scene, 1);
        one?.fill();
        await time(scene);
        one?.empty();
      },
    },
    {
      name: "full disk of the store",
      mayLose: true,
      run: async (scene) => {
        scene.store.fill();
        await time(scene);
        scene.store.empty();
        await scene.store.heal();
      },
    },
    { name: "pause the store", mayLose: true, run: (scene) => paused(scene, [scene.chance.of(scene.store.parts)]) },
    ...parts.map((name): Fault => ({ name: `kill ${name}`, mayLose: true, run: (scene) => killPart(scene, name) })),
  ];
}
