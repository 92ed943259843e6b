import { isIP } from "node:net";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { PortPlan, RoutePlan } from "../plan.ts";
import type { Opening, PortSettings } from "./addon.ts";

/** Gives each rule of a direction a number, by which the engine counts. */
export class RuleNumbers {
  readonly #numbers = new Map<string, number>();

  of(direction: RoutePlan["direction"], rule: string): number {
    const key = `${direction} ${rule}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#numbers.size;
    this.#numbers.set(key, number);
    return number;
  }
}

/** A plan, as the engine is told it. */
export function openingOf(plan: RoutePlan, numbers: RuleNumbers): Opening {
  const { direction, at, tls, target, egress, ports, otherwise } = plan;
  const settings = ({ rule, allowed, proxyProtocol }: PortPlan): PortSettings => ({
    rule: numbers.of(direction, rule),
    ...(allowed === undefined ? {} : { allowedSans: allowed }),
    proxyProtocol,
  });
  // Of an ingress that is bound to an address, the port is that of the application.
  return {
    ...(at.fd === undefined ? { address: formatEndpoint(at) } : { fd: at.fd }),
    tls,
    isEgress: direction === "egress",
    ...targetOf(target),
    host: egress?.upstream.host ?? "",
    ...(egress?.san === undefined ? {} : { pinnedSan: egress.san }),
    ports: [...ports].map(([port, plan]) => ({ port, settings: settings(plan) })),
    otherwise: settings(otherwise),
  };
}

function targetOf(target: RoutePlan["target"]): Pick<Opening, "target" | "original"> {
  if ("own" in target) {
    const { own, only } = target;
    return { original: { own, ...(only === undefined ? {} : { only }) } };
  }
  return isIP(target.host) === 0 ? {} : { target: formatEndpoint(target) };
}
