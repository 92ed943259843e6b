import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { NetfilterError } from "./error.ts";
import { kernelHasIpv6 } from "./families.ts";

/**
 * Whether anything in this network namespace was ever reached: the kernel counts connections that a listener took, and
 * datagrams that somebody read (RFC 4022 and RFC 4113: tcpPassiveOpens, udpInDatagrams), from the beginning. Nobody outside
 * raises these counters where nothing listens; who listened and is gone has left its trace.
 */
const COUNTERS = ["Tcp.PassiveOpens", "Udp.InDatagrams"];
/** IPv6 is counted with IPv4 for TCP, and by itself for UDP. */
const COUNTERS_OF_IPV6 = ["Udp6InDatagrams"];

/**
 * A host starts containers in the order that it likes, and can end or hold up each: what it let run before the ports were
 * closed may have been told anything. Such a pod gets no certificate.
 *
 * @throws NetfilterError `reached_before`
 */
export async function requireUnreached(folder = "/proc/net", kernelHas = kernelHasIpv6): Promise<void> {
  const read = async (name: string): Promise<string> => readFile(join(folder, name), "latin1");
  const counters = parsePairs(await read("snmp"));
  // A datagram is counted when it is read: who is held up may have some waiting.
  let waiting = countWaiting(await read("udp"));
  const reached = COUNTERS.map((name) => `${name} ${counters.get(name) ?? "unknown"}`);
  // Only a kernel without IPv6 lacks these files.
  if (await kernelHas()) {
    const ofIpv6 = parseList(await read("snmp6"));
    reached.push(...COUNTERS_OF_IPV6.map((name) => `${name} ${ofIpv6.get(name) ?? "unknown"}`));
    waiting += countWaiting(await read("udp6"));
  }
  const tooMany = [...reached, `unread datagrams ${waiting}`].filter((text) => !text.endsWith(" 0"));
  if (tooMany.length === 0) return;
  throw new NetfilterError("reached_before", "something in this pod was reached before its ports were closed", {
    where: folder,
    got: tooMany.join(", "),
    want: "the Initializer before every other container",
    hint: "delete the pod; if the next one ends the same, its node does not keep Kubernetes' order of containers",
  });
}

/** proc_net(5), snmp: a line of names and one of values, which begin alike. */
function parsePairs(text: string): ReadonlyMap<string, string> {
  const counters = new Map<string, string>();
  let before: readonly string[] = [];
  for (const line of text.split("\n")) {
    const words = line.split(" ");
    if (words[0] === before[0]) {
      for (const [index, name] of before.entries()) {
        if (index > 0) counters.set(`${before[0]?.replace(":", "")}.${name}`, words[index] ?? "");
      }
    }
    before = words;
  }
  return counters;
}

/** proc_net(5), snmp6: a name and a value in each line. */
function parseList(text: string): ReadonlyMap<string, string> {
  return new Map(text.split("\n").map((line) => line.split(/\s+/) as [string, string]));
}

/** proc_net(5), udp: in the fifth column, behind the colon, how many bytes wait for whoever has the socket. */
function countWaiting(text: string): number {
  const sockets = text.split("\n").slice(1);
  return sockets.filter((line) => /^\s*\d+:(\s+\S+){3}\s+[0-9A-F]+:0*[1-9A-F]/.test(line)).length;
}
