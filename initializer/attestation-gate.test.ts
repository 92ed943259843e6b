import { expect, onTestFinished, test, vi } from "vitest";
import { startCocoApi } from "../attestation/collect/coco/test-coco-api.ts";
import { NetfilterError } from "../netfilter/error.ts";
import type { Logger } from "../runtime/log.ts";
import { AttestationGate } from "./attestation-gate.ts";

const HOST = "127.84.1.1";

interface Setting {
  readonly gate: AttestationGate;
  /** Which local port was let in, each time the rules were made. */
  readonly closed: (number | undefined)[];
  readonly warn: ReturnType<typeof vi.fn>;
}

function gateAt(address: string, { fails = false, allowOpen = false } = {}): Setting {
  const closed: (number | undefined)[] = [];
  const warn = vi.fn();
  const gate = new AttestationGate({
    address,
    allowOpen,
    environment: {},
    log: { warn, info: () => {} } as unknown as Logger,
    random: () => 0.5,
    close: async (_, from) => {
      if (fails) throw new NetfilterError("iptables_failed", "Permission denied");
      closed.push(from);
    },
  });
  return { gate, closed, warn };
}

async function served(): Promise<string> {
  const { port, close } = await startCocoApi(HOST, () => "");
  onTestFinished(close);
  return `${HOST}:${port}`;
}

test("where nothing answers, nothing is closed, and no packet filter is needed", async () => {
  const { gate, closed } = gateAt(`${HOST}:1`, { fails: true });
  await gate.secure();
  expect(await gate.through(async (port) => port)).toBe(undefined);
  expect(closed).toEqual([]);
});

test("it is closed at once, let open for one connection, and closed again whatever becomes of that", async () => {
  const { gate, closed } = gateAt(await served());
  await gate.secure();
  expect(closed).toEqual([undefined]);
  await expect(gate.through(() => Promise.reject(new Error("refused")))).rejects.toThrow("refused");
  expect(await gate.through(async (port) => port)).toBe(25_000);
  await gate.secure();
  expect(closed).toEqual([undefined, 25_000, undefined, 25_000, undefined]);
});

test("one that comes up later is closed then", async () => {
  const { port, close } = await startCocoApi(HOST, () => "");
  await close();
  const { gate, closed } = gateAt(`${HOST}:${port}`);
  await gate.secure();
  expect(closed).toEqual([]);
  const late = await startCocoApi(HOST, () => "", port);
  onTestFinished(late.close);
  await gate.secure();
  expect(closed).toEqual([undefined]);
});

test("where it can't be closed there is no certificate", async () => {
  const { gate } = gateAt(await served(), { fails: true });
  const refusal = { code: "attestation_api_open", hint: expect.stringContaining("open-attestation-api") as string };
  await expect(gate.secure()).rejects.toMatchObject(refusal);
  const use = vi.fn();
  await expect(gate.through(use)).rejects.toMatchObject(refusal);
  expect(use).not.toHaveBeenCalled();
});

test("unless its owner says so, which is loud", async () => {
  const { gate, closed, warn } = gateAt(await served(), { allowOpen: true });
  await gate.secure();
  expect(await gate.through(async (port) => port)).toBe(undefined);
  expect(closed).toEqual([]);
  expect(warn).toHaveBeenCalledOnce();
  expect(warn.mock.calls[0]?.[1]).toMatch(/OPEN/);
});
