import { Refusal } from "../api/refusal.ts";
import { VERSION } from "../runtime/version.ts";
import { ChannelError } from "./error.ts";

/**
 * Which protocols a side speaks: what is said in the exchange, and the calls after it. Each release that changes them
 * takes the next number, and speaks the one before, too (docs/decisions/0046-version-skew.md).
 */
export interface Protocols {
  readonly oldest: number;
  readonly newest: number;
}

export const PROTOCOLS: Protocols = { oldest: 1, newest: 2 };

/** Of 0.1.0, which says none. */
const UNNAMED = 1;

/** As they stand in a hello: 0 where they were left out. */
export interface Said {
  readonly protocol: number;
  readonly oldestProtocol: number;
}

/**
 * What a server does.
 *
 * @returns the newest protocol that both sides speak
 * @throws Refusal `version_unsupported`
 */
export function chooseProtocol({ protocol, oldestProtocol }: Said, ours = PROTOCOLS): number {
  const newest = protocol === 0 ? UNNAMED : protocol;
  const oldest = oldestProtocol === 0 ? newest : oldestProtocol;
  const chosen = Math.min(newest, ours.newest);
  if (chosen >= ours.oldest && chosen >= oldest && oldest <= newest) return chosen;
  throw new Refusal("version_unsupported", "client and Coordinator are more than one version apart", {
    where: "ClientHello, protocol",
    got: oldest === newest ? `${newest}, the client's` : `${oldest} to ${newest}, the client's`,
    want: `${ours.oldest} or ${ours.newest}, those of the Coordinator ${VERSION}`,
    hint: newest < ours.oldest ? "update the client" : "update the Coordinator, or use a client of its version",
  });
}

/**
 * What a client does with the server's choice, which may be a hostile one's.
 *
 * @throws ChannelError `version_unsupported`
 */
export function requireProtocol(protocol: number, ours = PROTOCOLS): number {
  const chosen = protocol === 0 ? UNNAMED : protocol;
  if (chosen >= ours.oldest && chosen <= ours.newest) return chosen;
  throw new ChannelError("version_unsupported", "client and Coordinator are more than one version apart", {
    where: "ServerHello, protocol",
    got: `${chosen}, the Coordinator's`,
    want: `${ours.oldest} or ${ours.newest}, those of the client ${VERSION}`,
    hint: chosen < ours.oldest ? "update the Coordinator, or use a client of its version" : "update the client",
  });
}
