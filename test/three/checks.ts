import { createHash } from "node:crypto";
import { UserAPI } from "../../api/userapi_pb.ts";
import { CONFIRM_BOUND_MS } from "../../coordinator/state/bounds.ts";
import type { Coordinator } from "./coordinator.ts";
import type { Owners } from "./deployment.ts";
import { keyOf, type Outcome } from "./load.ts";
import type { Move, SharedStore } from "./store.ts";

/** What has to hold when all faults are over. */

/** How long after its replacement was answered a mesh CA may still be issued by, by a Coordinator that is cut off. */
const SLACK_MS = 3000;

/** What one Coordinator has. */
export interface View {
  readonly transitions: readonly string[];
  readonly names: readonly string[];
  readonly meshKey: string;
  readonly rootKey: string;
}

export interface Found {
  readonly view: View;
  readonly moves: readonly Move[];
  /** Mesh CAs that were replaced and nobody has set the one after: their certificates are refused. */
  readonly replaced: number;
  readonly faults: readonly string[];
}

/** @param before what was found after the round before @throws where a Coordinator does not answer */
export async function check(
  coordinators: readonly Coordinator[],
  owners: Owners,
  store: SharedStore,
  outcome: Outcome,
  before: Found | undefined,
): Promise<Found> {
  const views: View[] = [];
  for (const { address } of coordinators) views.push(await viewOf(address, owners));
  const moves = await store.moves();
  const [view] = views;
  if (view === undefined) throw new Error("there is no Coordinator");
  const made = moves.filter((move, index) => move.transition === moves[index - 1]?.transition);
  const replaced = made.filter(({ sequence }) => sequence > (before?.moves.at(-1)?.sequence ?? 0)).length;
  const faults = [
    ...outcome.violations,
    ...oneHistory(views, moves),
    ...continued(view, moves, before),
    ...setsOf(view, outcome, before),
    ...certificatesOf(moves, outcome),
  ];
  return { view, moves, replaced, faults };
}

async function viewOf(address: string, owners: Owners): Promise<View> {
  const client = owners.workloadOwner(address);
  try {
    const answer = await client.call(UserAPI.method.getManifests, {}, new Date(Date.now() + 10_000));
    return {
      transitions: answer.history.map(({ transition }) => Buffer.from(transition).toString("hex")),
      names: answer.history.map(({ manifest }) => nameIn(Buffer.from(manifest))),
      meshKey: keyOf(answer.meshCaCert),
      rootKey: keyOf(answer.rootCaCert),
    };
  } finally {
    client.close();
  }
}

function nameIn(manifest: Buffer): string {
  const { Policies } = JSON.parse(manifest.toString()) as { Policies: Record<string, { SANs: string[] }> };
  return Object.values(Policies).find(({ SANs }) => SANs[0] === "web")?.SANs[1] ?? "none";
}

function oneHistory(views: readonly View[], moves: readonly Move[]): string[] {
  const texts = new Set(views.map((view) => JSON.stringify(view)));
  const faults =
    texts.size === 1 ? [] : [`the Coordinators have ${texts.size} histories: ${[...texts].map(digest).join(", ")}`];
  const [latest, view] = [moves.at(-1), views[0]];
  if (latest?.meshKey !== view?.meshKey) faults.push("the pointer of the store names another mesh CA");
  if (latest?.transition !== view?.transitions.at(-1)) faults.push("the pointer of the store names another transition");
  moves.forEach(({ sequence }, index) => {
    if (sequence !== index + 1) faults.push(`move ${index + 1} has the number ${sequence}`);
  });
  return faults;
}

function continued(view: View, moves: readonly Move[], before: Found | undefined): string[] {
  if (before === undefined) return [];
  const faults = [];
  if (!startsWith(view.transitions, before.view.transitions))
    faults.push("the history does not continue the one before");
  if (!startsWith(moves.map(textOf), before.moves.map(textOf))) faults.push("the moves don't continue those before");
  if (view.rootKey !== before.view.rootKey) faults.push("there is another root CA");
  return faults;
}

/** Every set that was answered is in the history, once, and every other one there was asked for. */
function setsOf(view: View, { sets, failed }: Outcome, before: Found | undefined): string[] {
  const faults = sets.flatMap(({ name, transition }) => {
    const at = view.names.indexOf(name);
    if (at === -1) return [`the set ${name} was answered, and is lost`];
    return view.transitions[at] === transition ? [] : [`the set ${name} has another transition`];
  });
  const answered = new Set(sets.map(({ name }) => name));
  view.names.slice(before?.view.names.length ?? 0).forEach((name) => {
    if (!answered.has(name) && !failed.has(name)) faults.push(`nobody has asked for ${name}`);
    if (failed.get(name) === "conflict") faults.push(`the set ${name} was said to have lost, and is in the history`);
  });
  if (new Set(view.names).size !== view.names.length) faults.push("a set is in the history twice");
  return faults;
}

/**
 * Every certificate is of a mesh CA that was in force, and none was issued later than the bound after another one took its
 * place. When that was is known from the answers of sets: it was not later.
 */
function certificatesOf(moves: readonly Move[], { issued, sets }: Outcome): string[] {
  const numberOf = new Map(moves.map(({ meshKey, sequence }) => [meshKey, sequence]));
  const answers = sets
    .map(({ meshKey, at }) => ({ number: numberOf.get(meshKey) ?? 0, at }))
    .toSorted((a, b) => a.at - b.at);
  return issued.flatMap(({ meshKey, began }) => {
    const number = numberOf.get(meshKey);
    if (number === undefined) return [`a certificate is of a mesh CA that was never in force, ${meshKey.slice(0, 8)}`];
    const successor = answers.find((answer) => answer.number > number);
    const late = successor === undefined ? 0 : began - successor.at - CONFIRM_BOUND_MS;
    return late <= SLACK_MS ? [] : [`a certificate of move ${number} was issued ${Math.round(late)} ms too late`];
  });
}

function startsWith(all: readonly string[], start: readonly string[]): boolean {
  return start.every((item, index) => all[index] === item);
}

function textOf({ sequence, transition, meshKey }: Move): string {
  return `${sequence} ${transition} ${meshKey}`;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}
