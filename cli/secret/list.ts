import type { Context } from "../context.ts";
import { INSECURE } from "../../report/insecure.ts";
import { render } from "../../report/print.ts";
import { manifestInForce } from "../workspace/active-history.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { annexOf } from "../../manifest/generations.ts";
import { inSession, refuseOptions } from "../workspace/owner-session.ts";
import { secretFields } from "../workspace/annex-fields.ts";
import { workloadsIn } from "../../report/workloads.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import type { SecretOptions } from "./options.ts";

/** `contrast secret list`: names, versions and readers, from the history of an attested Coordinator. It takes no owner. */
export async function listSecrets(context: Context, name: string | undefined, options: SecretOptions): Promise<void> {
  const others = {
    "--for": options.for,
    "--from-file": options.fromFile,
    "--revoke": options.revoke,
    "--prepare": options.prepare,
  };
  refuseOptions({ "[name]": name, ...others }, "secret list");
  const atHand = await readManifest(context, options.manifest);
  await inSession(context, options.coordinator, atHand, undefined, async ({ active, insecure }) => {
    const workloads = workloadsIn(parseManifest(manifestInForce(active)), active.policies);
    const secrets = secretFields(annexOf(active.steps.at(-1)), workloads);
    const result = {
      result:
        secrets.length === 0
          ? "there are no secrets"
          : `${secrets.length} ${secrets.length === 1 ? "secret" : "secrets"}`,
      coordinator: options.coordinator,
      "latest transition": active.latest,
      secrets,
      ...(insecure ? { insecure: INSECURE } : {}),
    };
    context.out(render(result, context.format));
  });
}
