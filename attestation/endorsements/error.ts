import { CodedError } from "../../runtime/errors.ts";

/** Why an endorsement was not to be had, and what to do about it. */
export type EndorsementCode =
  /** The vendor's service gave no answer, or said that it is busy, each time: look at the network, or try again later. */
  | "vendor_unreachable"
  /** The vendor's service does not have it, or sends elsewhere: the request, or the collateral proxy, is wrong. */
  | "vendor_refused"
  /** What came is not what was asked for: look at what stands in between, such as a proxy. */
  | "malformed_endorsement"
  /** What came is not valid any more: check the clock, and whether a proxy hands out old copies. */
  | "endorsement_expired"
  /** Nobody hands out VLEK certificates but the cloud provider: send the certificate along with the report. */
  | "vlek_not_distributed"
  /** Certificates are kept by product, and nothing says which one it is: name it. */
  | "product_unknown";

export class EndorsementError extends CodedError<EndorsementCode> {}

/** Nobody answered: another source will do. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof EndorsementError && error.code === "vendor_unreachable";
}
