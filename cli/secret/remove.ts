import type { Context } from "../context.ts";
import { amend } from "../workspace/amend.ts";
import { withoutSecret } from "../workspace/next-annex.ts";
import { refuseOptions } from "../workspace/owner-session.ts";
import type { SecretOptions } from "./options.ts";
import { requireName } from "./set.ts";
import { requireKnown } from "./known.ts";

/**
 * `contrast secret rm`: removes all versions of a secret.
 *
 * @returns the exit code
 */
export async function removeSecret(
  context: Context,
  name: string | undefined,
  options: SecretOptions,
): Promise<number> {
  const secret = requireName(name);
  refuseOptions({ "--for": options.for, "--from-file": options.fromFile, "--revoke": options.revoke }, "secret rm");
  return amend(context, options, async ({ before }) => {
    requireKnown(before, secret);
    return {
      annex: withoutSecret(before, secret),
      result: "secret removed",
      facts: { "what it means": "pods that have read it keep what they have until they are restarted or renew" },
    };
  });
}
