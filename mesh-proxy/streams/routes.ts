import type { MeshProxyConfiguration } from "../configuration.ts";
import type { CurrentCredentials } from "../credentials/current-credentials.ts";
import { type Lookup, Names } from "../names.ts";
import { planFor, type RoutePlan } from "../plan.ts";
import { Egress, egressContext } from "./egress.ts";
import { Ingress } from "./ingress.ts";
import { originalDestination } from "./original-destination.ts";
import type { Route } from "./route.ts";
import { TlsAcceptor } from "./tls/acceptor.ts";

/** What routes need of the world outside the configuration. */
export interface Surroundings {
  readonly credentials: CurrentCredentials;
  readonly lookup: Lookup;
  readonly now: () => Date;
}

export function routes(
  plans: readonly RoutePlan[],
  configuration: MeshProxyConfiguration,
  { credentials, lookup, now }: Surroundings,
): Route[] {
  const { CONTRAST_TLS_MIN: oldestTls, CONTRAST_HANDSHAKE_TIMEOUT: handshakeMs } = configuration;
  const names = new Names(lookup, now);
  const tls = { oldestTls, handshakeMs, now };
  const acceptors = {
    mutual: new TlsAcceptor(credentials, { clientCertificate: "required", ...tls }),
    server: new TlsAcceptor(credentials, { clientCertificate: "not asked for", ...tls }),
    none: undefined,
  };
  const context = egressContext(credentials, oldestTls);
  const ingress = new Ingress(names);
  return plans.map((plan) => {
    const { tls: side, egress: rule, target } = plan;
    if (side === "upstream") {
      if (rule === undefined) throw new Error("an egress route has no rule");
      const egress = new Egress(rule, { context, names, now });
      return { plan, connect: async (transport, handshakes) => egress.connect(transport, handshakes) };
    }
    return {
      plan,
      connect: async (transport, handshakes) => {
        const to = "own" in target ? originalDestination(transport, target) : target;
        return ingress.connect(transport, acceptors[side], { ...planFor(plan, to.port), to }, handshakes);
      },
    };
  });
}
