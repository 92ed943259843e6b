import { CodedError } from "../runtime/errors.ts";

/**
 * Why the packet filter could not be changed.
 *
 * - `iptables_missing`: the image lacks iptables for an address family that the pod has. Install it.
 * - `iptables_failed`: the kernel or iptables refused. Grant NET_ADMIN, or use a kernel with what the line of iptables names.
 */
export class NetfilterError extends CodedError<"iptables_missing" | "iptables_failed"> {}
