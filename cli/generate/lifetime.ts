import { DEFAULT_CERTIFICATE_LIFETIME } from "../../manifest/certificate-lifetime.ts";
import type { PodAnnotations } from "./annotations.ts";

/** What a manifest says of the lifetime of certificates, where people have not said it. */

/** Where every pod renews them. */
const RENEWED = "24h";

type Renewing = Pick<PodAnnotations, "role" | "skipInitializer" | "renew">;

/** @param before what the manifest has, which stays @param pods all that it is for */
export function lifetimeOf(before: string | undefined, pods: readonly Renewing[]): string {
  return before ?? (doAllRenew(pods) ? RENEWED : DEFAULT_CERTIFICATE_LIFETIME);
}

/** @param lifetime as the manifest has it @param named all pods @returns why it does not fit them, and what would */
export function lifetimeAdvice(
  lifetime: string,
  named: readonly { readonly name: string; readonly annotations: Renewing }[],
): { readonly warning?: string; readonly hint?: string } {
  const certified = named.filter(({ annotations }) => isCertified(annotations));
  const once = certified.filter(({ annotations }) => !annotations.renew).map(({ name }) => name);
  const names = once.join(", ");
  if (lifetime === RENEWED && once.length > 0) {
    const warning =
      `$.CertificateLifetime is ${lifetime}, and ${names} would have to be restarted before: ` +
      `annotate ${once.length === 1 ? "it" : "them"} with renew, or raise the lifetime`;
    return { warning };
  }
  if (lifetime === DEFAULT_CERTIFICATE_LIFETIME && certified.length > 0 && once.length === 0) {
    return { hint: `every pod renews its certificates: $.CertificateLifetime may be as short as "${RENEWED}"` };
  }
  return {};
}

function doAllRenew(pods: readonly Renewing[]): boolean {
  const certified = pods.filter(isCertified);
  return certified.length > 0 && certified.every(({ renew }) => renew);
}

/** The Coordinator hands certificates out, and others skip the Initializer. */
function isCertified({ role, skipInitializer }: Renewing): boolean {
  return role !== "coordinator" && !skipInitializer;
}
