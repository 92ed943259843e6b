import { join } from "node:path";
import { z } from "zod";
import { CliError, type Context } from "../context.ts";
import { FILES, readInput } from "./workspace.ts";

/**
 * rekey.json: the root CA key of the seed that an attested Coordinator has made for a rekey, and what the rekey follows. Each
 * owner gets it from that Coordinator: whoever signs a root CA key that somebody else wrote down allows that one's seed.
 */
export interface PreparedRekey {
  /** SHA-256 of the latest transition, hex. */
  readonly transition: string;
  /** SHA-256 of the mesh CA's SubjectPublicKeyInfo, hex. */
  readonly meshKey: string;
  /** The same of the new root CA's. */
  readonly newRootKey: string;
  /** Until when the Coordinator keeps the seed, ISO 8601. */
  readonly until: string;
}

const digest = z.string().regex(/^[0-9a-f]{64}$/, { error: "64 lower-case hexadecimal digits" });
const schema = z.strictObject({
  Transition: digest,
  MeshCaKey: digest,
  NewRootCaKey: digest,
  Until: z.iso.datetime({ error: "a time" }),
});

export function encodePreparedRekey({ transition, meshKey, newRootKey, until }: PreparedRekey): string {
  const document = { Transition: transition, MeshCaKey: meshKey, NewRootCaKey: newRootKey, Until: until };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** @throws CliError unreadable_file, malformed_file */
export async function readPreparedRekey(context: Context): Promise<PreparedRekey> {
  const where = join(context.workspace, FILES.rekey);
  const hint = "run `contrast rekey --prepare` first";
  const bytes = await readInput(where, "what was prepared for the rekey", hint);
  try {
    const { Transition, MeshCaKey, NewRootCaKey, Until } = schema.parse(JSON.parse(bytes.toString()));
    return { transition: Transition, meshKey: MeshCaKey, newRootKey: NewRootCaKey, until: Until };
  } catch (cause) {
    throw new CliError("malformed_file", "what was prepared for the rekey can't be read", {
      where,
      want: "Transition, MeshCaKey, NewRootCaKey and Until",
      hint,
      cause,
    });
  }
}
