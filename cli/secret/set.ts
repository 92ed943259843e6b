import { UserAPI } from "../../api/userapi_pb.ts";
import { isSecretName, WANT_SECRET_NAME } from "../../manifest/annex-names.ts";
import { quote } from "../../runtime/fault.ts";
import { callDeadline } from "../coordinator.ts";
import { CliError, type Context } from "../context.ts";
import { type Amended, type Amending, amend } from "../workspace/amend.ts";
import { requireNextAnnex, withSecret } from "../workspace/next-annex.ts";
import { readerOf } from "../workspace/readers.ts";
import { podsOf } from "../../report/workloads.ts";
import type { SecretOptions } from "./options.ts";
import { readValue } from "./value.ts";

/**
 * `contrast secret set`: gives a secret another version. The value is read first, and leaves this machine when the
 * Coordinator has proven itself and its history was checked.
 *
 * @returns the exit code
 */
export async function setSecret(context: Context, name: string | undefined, options: SecretOptions): Promise<number> {
  const secret = requireName(name);
  const input = context.input();
  if (options.fromFile === undefined && (input as { readonly isTTY?: boolean }).isTTY === true) {
    context.talk("type the value, which this terminal shows, then Ctrl-D; --from-file reads it from a file");
  }
  const value = await readValue({ input: () => input }, options.fromFile);
  return amend(context, options, async (amending): Promise<Amended> => {
    const { before, coordinator, workloads } = amending;
    const readers = readersFor(secret, options.for ?? [], amending);
    const version = (before.secrets.get(secret)?.latestVersion ?? 0) + 1;
    const revoke = options.revoke === true;
    const next = (sealed: string) => withSecret(before, secret, { version, readers, sealed }, revoke);
    // What is wrong with it is found before the value is sent.
    requireNextAnnex(before, next("0".repeat(64)));
    for (const reader of readers) {
      if (podsOf(reader, workloads).length > 0) continue;
      context.warn(`warning: no pod of the manifest in force is ${quote(reader)}: none reads the secret by that`);
    }
    const { sealedDigest } = await coordinator.call(
      UserAPI.method.sealSecret,
      { name: secret, version, readers, value: value.reveal() },
      callDeadline(context),
    );
    return { annex: next(Buffer.from(sealedDigest).toString("hex")), result: "secret set", facts: { version } };
  });
}

/** @throws CliError usage */
export function requireName(name: string | undefined): string {
  if (name !== undefined && isSecretName(name)) return name;
  throw new CliError("usage", "this is no name of a secret", {
    where: "[name]",
    got: name === undefined ? "nothing" : quote(name),
    want: WANT_SECRET_NAME,
  });
}

/** Sorted, each once; where none is named, those of the latest version. @throws CliError usage */
function readersFor(name: string, named: readonly string[], { before, workloads }: Amending): string[] {
  const latest = before.secrets.get(name)?.versions[0];
  if (named.length > 0) return [...new Set(named.map((text) => readerOf(text, workloads)))].toSorted();
  if (latest !== undefined) return [...latest.readers];
  throw new CliError("usage", "nobody is named who may read the secret, and it has no version before", {
    where: "--for",
    got: "nothing",
    want: "a workload's name, workload:<WorkloadSecretID> or policy:<hash>",
  });
}
