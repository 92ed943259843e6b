import { isIPv6 } from "node:net";
import type { Fault } from "../../runtime/fault.ts";
import { quote } from "../../runtime/fault.ts";
import { Malformed, type Variable } from "../../runtime/environment.ts";
import { parsePort } from "../../runtime/variables.ts";
import type { ListedPeer } from "./accept-peer.ts";

/** Where peers are, and which of them beside those that are like this one (docs/design.md §2). */

export interface PeerHost {
  /** A DNS name or an IP address. */
  readonly host: string;
  readonly port: number;
}

const WANT_HOST = "host:port, like coordinator-peers:7777; more than one separated by commas";
const WANT_POLICY =
  "a policy hash (64 lower-case hexadecimal digits) or own, with @ and a measurement (96 digits) where it is another one";

/** A name of DNS (RFC 1123 §2.1), or an IPv4 address. */
const NAME =
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?$/;

/** More Coordinators than any deployment has. */
const MOST_HOSTS = 16;
const MOST_POLICIES = 16;

export const peerVariables = {
  CONTRAST_PEERS: {
    help: "host:port of the other Coordinators' mesh APIs: every address of a headless Service is one (default: none)",
    unset: [] as readonly PeerHost[],
    parse: (text) => list(text, MOST_HOSTS, WANT_HOST, parseHost),
  } satisfies Variable<readonly PeerHost[]>,
  CONTRAST_PEER_POLICIES: {
    help: "Coordinators that secrets are taken from beside those like this one: <policy hash or own>[@<measurement>], …",
    unset: [] as readonly ListedPeer[],
    parse: (text) => list(text, MOST_POLICIES, WANT_POLICY, parsePolicy),
  } satisfies Variable<readonly ListedPeer[]>,
} as const;

function list<T>(text: string, most: number, want: string, parse: (item: string) => T | undefined): readonly T[] {
  const items = text.split(",");
  const faults: Fault[] = [];
  const parsed = items.flatMap((item, index) => {
    const value = parse(item);
    if (value === undefined) faults.push({ where: `entry ${index + 1}`, got: quote(item), want });
    return value === undefined ? [] : [value];
  });
  if (items.length > most) faults.push({ where: "", got: `${items.length} entries`, want: `at most ${most}` });
  const twice = items.find((item, index) => items.indexOf(item) !== index);
  if (twice !== undefined) faults.push({ where: "", got: `${quote(twice)} twice`, want: "each entry once" });
  if (faults.length > 0) throw new Malformed(faults);
  return parsed;
}

function parseHost(text: string): PeerHost | undefined {
  const [, v6, name, portText = ""] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d+)$/.exec(text) ?? [];
  const port = parsePort(portText);
  const host = v6 === undefined ? name : isIPv6(v6) ? v6 : undefined;
  if (port === undefined || host === undefined || (v6 === undefined && !NAME.test(host))) return undefined;
  return { host, port };
}

function parsePolicy(text: string): ListedPeer | undefined {
  const [, policy, measurement] = /^([0-9a-f]{64}|own)(?:@([0-9a-f]{96}))?$/.exec(text) ?? [];
  // It is always listed.
  if (policy === undefined || (policy === "own" && measurement === undefined)) return undefined;
  return { policy, measurement };
}
