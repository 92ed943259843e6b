import { once } from "node:events";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { NO_KUBERNETES_API } from "./kubernetes-api/server.ts";
import { NO_NAMESPACES, startRounds } from "./three/start.ts";

/** Ten rounds of what `npm run soak -- --three` does: three Coordinators, one fault after the other. */

const ROUNDS = 10;
/** The small store stands in where there is no real one; beside that one it is only tried. */
const FEW = NO_KUBERNETES_API === undefined ? 3 : ROUNDS;
const STORES = [
  ["etcd and kube-apiserver", ROUNDS, [], NO_KUBERNETES_API],
  ["the small store", FEW, ["--small"], undefined],
] as const;

for (const [store, rounds, args, missing] of STORES) {
  const why = NO_NAMESPACES ?? missing;
  const name = `three Coordinators on ${store} have one history and one mesh CA, whatever happens`;
  test.skipIf(why !== undefined)(why === undefined ? name : `${name}: ${why}`, { timeout: 900_000 }, async () => {
    const seed = store === "the small store" ? "2" : "1";
    const program = startRounds(["--rounds", `${rounds}`, "--seed", seed, "--longest", "3000", ...args]);
    const lines: Record<string, unknown>[] = [];
    createInterface({ input: program.stdout ?? process.stdin }).on("line", (line) => {
      lines.push(JSON.parse(line) as Record<string, unknown>);
    });
    const [code] = (await once(program, "exit")) as [number | null];
    expect(code, JSON.stringify(lines.at(-1))).toBe(0);
    expect(lines[0]).toMatchObject({ store });
    expect(lines.at(-1)).toMatchObject({ total: { rounds } });
  });
}
