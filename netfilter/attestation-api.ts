import type { Environment } from "../runtime/environment.ts";
import { tryToLook } from "./backends.ts";
import { NetfilterError } from "./error.ts";
import { addressFamilies, type Family } from "./families.ts";
import { type Iptables, missing } from "./iptables.ts";
import { printed } from "./static-rules.ts";

/**
 * Keeps everybody in the pod from the attestation API of CoCo's guest components: whoever is answered there has evidence
 * of this VM over bytes of his own choice.
 *
 * The rule stands where packets arrive at the listener (INPUT), not where they are sent: behind every DNAT, whatever local
 * address was dialled, and also for packets that a raw socket put on the loopback interface. It asks for no uid: the
 * application may have the same one as the Initializer. It is the table `mangle`, whose chains come before those of
 * `filter`, where the pod's static rules let loopback pass; a packet that is dropped there is dropped.
 */
const TABLE = "mangle";
const CHAIN = "CONTRAST_ATTESTATION";
const JUMP = `INPUT -j ${CHAIN}`;

/** Addresses that a listener on loopback alone can have. */
const LOOPBACK: Readonly<Record<Family, string>> = { IPv4: "127.0.0.0/8", IPv6: "::1/128" };

/**
 * As the kernel prints them.
 *
 * @param from the one local port whose connections are let in
 */
export function attestationRules(family: Family, port: number, from: number | undefined): string[] {
  const to = `-p tcp -m tcp --dport ${port} -j DROP`;
  return [
    ...(from === undefined ? [] : [`-i lo -p tcp -m tcp --sport ${from} --dport ${port} -j RETURN`]),
    // Every packet of the VM to itself, by whatever address. From outside, the port is the application's.
    `-i lo ${to}`,
    `-d ${LOOPBACK[family]} ${to}`,
  ];
}

/**
 * Makes the rules for both families in one commit each, and reads them back. One backend is enough: no other can let in
 * what it drops. Also connections that exist are cut. The rules stay when this program ends, however it ends.
 *
 * @param from a local port that is let in; undefined: nobody is
 * @throws NetfilterError where a family can't be filtered
 */
export async function closeAttestationApi(
  port: number,
  from: number | undefined,
  environment: Environment,
): Promise<void> {
  for (const family of await addressFamilies()) {
    await closeIn(family, attestationRules(family, port, from), environment);
  }
}

async function closeIn(family: Family, rules: readonly string[], environment: Environment): Promise<void> {
  const { seen, unused, failures } = await tryToLook(family, TABLE, environment);
  const errors: unknown[] = [...failures];
  const candidates = [...seen.map(({ backend }) => backend), ...(unused === undefined ? [] : [unused])];
  if (candidates.length === 0 && errors.length === 0) errors.push(missing(family, "legacy", environment));
  let isClosed = false;
  for (const [index, backend] of candidates.entries()) {
    // A backend that holds an earlier exception has to lose it; one that holds nothing is not needed any more.
    const isHolder = seen[index]?.rules.includes(`-N ${CHAIN}`) === true;
    if (isClosed && !isHolder) continue;
    try {
      await install(backend, rules);
      isClosed = true;
    } catch (error) {
      errors.push(error);
      if (isHolder) throw error;
    }
  }
  if (!isClosed) throw errors[0];
}

async function install(backend: Iptables, rules: readonly string[]): Promise<void> {
  const before = await backend.list(TABLE);
  await backend.restore(TABLE, [
    `:${CHAIN} - [0:0]`,
    ...rules.map((rule) => `-A ${CHAIN} ${rule}`),
    // One that is not the first of all is made anew.
    ...(before.includes(`-A ${JUMP}`) ? [`-D ${JUMP}`] : []),
    `-I ${JUMP}`,
  ]);
  const after = await backend.list(TABLE);
  const first = after.find((line) => line.startsWith("-A INPUT "));
  const own = after.filter((line) => line === `-N ${CHAIN}` || line.startsWith(`-A ${CHAIN} `));
  if (first === `-A ${JUMP}` && own.join("\n") === printed(CHAIN, rules).join("\n")) return;
  throw new NetfilterError("rules_differ", "the packet filter does not hold the rules that it was given", {
    where: `${backend.name}, ${TABLE}`,
    hint: `see ${backend.name} -t ${TABLE} -S; nothing else may change the packet filter of the pod`,
  });
}
