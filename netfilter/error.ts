import { CodedError } from "../runtime/errors.ts";

/**
 * Why the packet filter could not be looked at or changed.
 *
 * - `iptables_missing`: the image lacks a backend of iptables that the pod has, or may have. Install it.
 * - `iptables_failed`: the kernel or iptables refused to change rules or to show them. Grant NET_ADMIN and NET_RAW, or use a
 *   kernel with what the line of iptables names.
 * - `rules_differ`: it was changed, and holds other rules than it was given. See what else changes it in that pod.
 * - `reached_before`: something in the pod got connections or datagrams before its ports were closed, which no order of
 *   start leads to. Make a new pod, and look at its node.
 * - `attestation_api_open`: CoCo's attestation API answers in this pod, and can't be kept from its other processes. Grant
 *   NET_ADMIN, as `contrast generate` does.
 */
export class NetfilterError extends CodedError<
  "iptables_missing" | "iptables_failed" | "rules_differ" | "reached_before" | "attestation_api_open"
> {}
