import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { requireUnreached } from "./reached.ts";

const UDP = "Udp: InDatagrams NoPorts\nUdp: 0 9\nUdpLite: InDatagrams\nUdpLite: 3\n";
const TCP = "Tcp: RtoAlgorithm ActiveOpens PassiveOpens AttemptFails\nTcp: 1 7 0 8\n";
const UDP6 =
  "Ip6InReceives                   \t4\nUdp6InDatagrams                 \t0\nUdp6NoPorts                     \t5\n";

const SOCKET =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n 4503: 0B00007F:9C5A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0\n";

/** A folder like /proc/net. */
async function counters(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "reached-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}

const withIpv6 = async (): Promise<boolean> => true;
const withoutIpv6 = async (): Promise<boolean> => false;
const NOBODY = { udp: "", udp6: "" };

test.each([
  ["nobody was reached", { snmp: `Ip: Forwarding\nIp: 1\n${TCP}${UDP}`, snmp6: UDP6 }, withIpv6],
  ["nobody was reached, and somebody listens", { snmp: TCP + UDP, snmp6: UDP6, udp: SOCKET, udp6: SOCKET }, withIpv6],
  ["nobody was reached, and there is no IPv6", { snmp: TCP + UDP }, withoutIpv6],
])("%s", async (_, files, kernelHas) => {
  await expect(requireUnreached(await counters({ ...NOBODY, ...files }), kernelHas)).resolves.toBeUndefined();
});

test.each([
  ["a connection", { snmp: TCP.replace("1 7 0 8", "1 7 2 8") + UDP, snmp6: UDP6 }, "Tcp.PassiveOpens 2"],
  ["a datagram", { snmp: TCP + UDP.replace("0 9", "10 9"), snmp6: UDP6 }, "Udp.InDatagrams 10"],
  ["a datagram of IPv6", { snmp: TCP + UDP, snmp6: UDP6.replace("\t0", "\t1") }, "Udp6InDatagrams 1"],
  [
    "a datagram that waits",
    { snmp: TCP + UDP, snmp6: UDP6, udp: SOCKET, udp6: SOCKET.replace(":00000000 00:", ":00000300 00:") },
    "unread datagrams 1",
  ],
  ["what nobody counts", { snmp: UDP, snmp6: UDP6 }, "Tcp.PassiveOpens unknown"],
  ["what nobody counts by IPv6", { snmp: TCP + UDP, snmp6: "" }, "Udp6InDatagrams unknown"],
  ["what is counted elsewhere", { snmp: "", snmp6: UDP6 }, "Tcp.PassiveOpens unknown, Udp.InDatagrams unknown"],
])("%s is one too many", async (_, files, got) => {
  const folder = await counters({ ...NOBODY, ...files });
  await expect(requireUnreached(folder, withIpv6)).rejects.toMatchObject({ code: "reached_before", got });
});

test.each(["snmp", "snmp6", "udp", "udp6"])("without the kernel's %s nobody is believed", async (name) => {
  const files = Object.entries({ ...NOBODY, snmp: TCP + UDP, snmp6: UDP6 }).filter(([file]) => file !== name);
  const folder = await counters(Object.fromEntries(files));
  await expect(requireUnreached(folder, withIpv6)).rejects.toThrow("ENOENT");
});
