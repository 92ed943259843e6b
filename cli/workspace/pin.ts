import { join } from "node:path";
import { z } from "zod";
import { CliError, type Context } from "../context.ts";
import type { AttestedHistory } from "../../manifest/attested-history.ts";
import { annexOf } from "../../manifest/generations.ts";
import { rolledBack } from "./rolled-back.ts";
import { FILES, readIfPresent } from "./workspace.ts";

/**
 * pinned.json: which deployment this workspace means. It is written by `set` and `verify` alone, with what an attested
 * and active Coordinator said, and only where that continues what was pinned before. One that needs recovery has nothing
 * but what the host gave it, so what a recovery brings back is compared with the pin and never becomes one.
 *
 * The transition names all manifests before it, the seed shares and the root CA key: a history that contains it is the
 * deployment's, as recent as the pin. Both move on together, and to another root CA key over a rekey alone.
 */
export interface Pin {
  /** SHA-256 of the latest transition, hex. */
  readonly transition: string;
  /** SHA-256 of the root CA's SubjectPublicKeyInfo, hex. */
  readonly rootKey: string;
  /** The same of the mesh CA's, which is of one generation: `sign` binds a change to it. */
  readonly meshKey: string;
}

const digest = z.string().regex(/^[0-9a-f]{64}$/, { error: "64 lower-case hexadecimal digits" });
const schema = z.strictObject({ Transition: digest, RootCaKey: digest, MeshCaKey: digest });

export function encodePin({ transition, rootKey, meshKey }: Pin): string {
  return `${JSON.stringify({ Transition: transition, RootCaKey: rootKey, MeshCaKey: meshKey }, undefined, 2)}\n`;
}

export function pinPath({ workspace }: Context): string {
  return join(workspace, FILES.pin);
}

/** @returns undefined where this workspace has met no deployment yet @throws CliError malformed_file */
export async function readPin(context: Context): Promise<Pin | undefined> {
  const where = pinPath(context);
  const bytes = await readIfPresent(where, "what is pinned");
  if (bytes === undefined) return undefined;
  try {
    const { Transition, RootCaKey, MeshCaKey } = schema.parse(JSON.parse(bytes.toString()));
    return { transition: Transition, rootKey: RootCaKey, meshKey: MeshCaKey };
  } catch (cause) {
    throw new CliError("malformed_file", "what is pinned can't be read", {
      where,
      want: "Transition, RootCaKey and MeshCaKey, 64 lower-case hexadecimal digits each",
      hint: "restore the file from a backup of your own, or remove it and run `contrast verify`",
      cause,
    });
  }
}

/** @param what needs it, as the start of a sentence @throws CliError not_pinned */
export async function requirePin(context: Context, what: string): Promise<Pin> {
  const pin = await readPin(context);
  if (pin !== undefined) return pin;
  throw new CliError("not_pinned", `${what} needs to know the deployment, and this workspace has not met it`, {
    where: pinPath(context),
    got: "no such file",
    hint: "run `contrast verify` while the Coordinator is active; what somebody else has pinned is worth nothing here",
  });
}

/** What an attested, active Coordinator has, checked by what its owners signed. */
type Deployment = Pick<AttestedHistory, "steps">;

/**
 * The deployment is the one that is pinned, or what its owners made of it: a rekey gives it another root CA key, and
 * stands in the history, from the pinned transition on, with signatures over that key.
 *
 * @param found undefined: the Coordinator has no manifest
 * @throws CliError another_deployment, pin_mismatch
 */
export async function requireSameDeployment(context: Context, pin: Pin, found: Deployment | undefined): Promise<void> {
  const transitions = found?.steps.map(({ transition }) => transition) ?? [];
  const pinned = transitions.find(({ digest }) => digest === pin.transition);
  if (pinned?.rootKey === pin.rootKey) return;
  const where = pinPath(context);
  const toAccept = `if it is meant, remove that file and ${FILES.rootCa}`;
  if (transitions.every(({ rootKey }) => rootKey !== pin.rootKey)) {
    throw new CliError("another_deployment", "the Coordinator is not of the deployment that this workspace knows", {
      where: `${where}, $.RootCaKey`,
      got: transitions.at(-1)?.rootKey ?? "no manifest",
      want: pin.rootKey,
      hint: `its state was lost or replaced, and so were all secrets: use a new workspace for another deployment; ${toAccept}`,
    });
  }
  const lost = await rolledBack(context, annexOf(found?.steps.at(-1)));
  const others = `${transitions.length} others, the latest ${transitions.at(-1)?.digest}`;
  throw new CliError("pin_mismatch", "the Coordinator's history lacks the transition that this workspace knows", {
    where: `${where}, $.Transition`,
    got: [others, ...lost].join("; "),
    want: pin.transition,
    hint: `it is an older state, or a history that somebody with the seed made up: find out who; ${toAccept}`,
  });
}

/**
 * The root CA keys that rekeys replaced since the pinned transition. Without a pin there are none: anybody can write a
 * history that begins with a root CA key that is known, and goes on with one of his own, signed by owners of his own.
 *
 * @returns SHA-256 of the SubjectPublicKeyInfo, hex
 */
export function replacedRoots(pin: Pin | undefined, { steps }: Deployment): ReadonlySet<string> {
  const keys = steps.map(({ transition }) => transition.rootKey);
  const from = steps.findIndex(({ transition }) => transition.digest === pin?.transition);
  const since = from < 0 ? [] : keys.slice(from);
  return new Set(since.filter((key) => key !== keys.at(-1)));
}
