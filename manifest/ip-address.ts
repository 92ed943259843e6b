/** A byte in decimal, without leading zeros. */
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^(?:${BYTE}\\.){3}${BYTE}$`);
const GROUP = /^[0-9A-Fa-f]{1,4}$/;
const GROUPS = 8;

/** Whether it is an IPv4 address in dotted decimal or an IPv6 address (RFC 4291 §2.2), without a zone. */
export function isIpAddress(text: string): boolean {
  return IPV4.test(text) || isIpv6(text);
}

function isIpv6(text: string): boolean {
  const [head = "", tail, more] = text.split("::");
  if (more !== undefined) return false;
  // Only the last four bytes may be written as those of IPv4.
  if (tail === undefined) return groupsIn(head, true) === GROUPS;
  const groups = groupsIn(head, false) + groupsIn(tail, true);
  return groups < GROUPS;
}

/** @returns how many groups of 16 bits; NaN where there is something else */
function groupsIn(text: string, isEnd: boolean): number {
  if (text === "") return 0;
  const parts = text.split(":");
  const last = isEnd && IPV4.test(parts.at(-1) ?? "") ? parts.pop() : undefined;
  return parts.every((part) => GROUP.test(part)) ? parts.length + (last === undefined ? 0 : 2) : Number.NaN;
}
