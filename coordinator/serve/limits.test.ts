import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CONNECTION_BYTES, WAITING_BYTES } from "../../channel/limits.ts";
import { ANSWER_BYTES, LARGE_BYTES, VISITOR_BYTES } from "../attest/limits.ts";
import { TRANSIT_BYTES } from "../transit/limits.ts";
import { coordinatorLimits, LEAST_BYTES } from "./limits.ts";

const MIB = 2 ** 20;

test("whatever the memory, all that peers can make the process hold fits into it, and no source has half of anything", () => {
  fc.assert(
    fc.property(fc.integer({ min: LEAST_BYTES, max: 16 * 1024 * MIB }), (memory) => {
      const { user, mesh, transit, attest, probes, requests, historyBytes } = coordinatorLimits(memory);
      const held = [user, mesh].map(({ places, reserved }) => {
        const inside = (places.total + reserved.total) * CONNECTION_BYTES;
        return inside + (places.waiting?.total ?? 0) * WAITING_BYTES;
      });
      const ofTransit = transit.places.total * TRANSIT_BYTES + (transit.places.waiting?.total ?? 0) * WAITING_BYTES;
      const ofAttest =
        attest.connections.total * VISITOR_BYTES +
        attest.answers.total * ANSWER_BYTES +
        attest.large.total * Math.min(attest.mostBytes, LARGE_BYTES) +
        attest.historyBytes;
      const all =
        held.reduce((sum, bytes) => sum + bytes) +
        ofTransit +
        ofAttest +
        requests.total +
        historyBytes +
        probes.connections * 192 * 1024;
      // The mesh API knows no accounts: what is reserved there is nobody's.
      expect(all - mesh.reserved.total * CONNECTION_BYTES).toBeLessThanOrEqual(memory - 96 * MIB);
      for (const { connections, places, appraisals, reserved } of [user, mesh]) {
        for (const gate of [connections, places, appraisals, reserved]) {
          expect(gate.perPeer).toBeLessThan(gate.total / 2);
          expect(gate.perPeer).toBeGreaterThan(0);
        }
      }
      const { connections, answers } = attest;
      for (const gate of [transit.connections, transit.places, transit.workloads, connections, answers]) {
        expect(gate.perPeer).toBeLessThan(gate.total / 2);
        expect(gate.perPeer).toBeGreaterThan(0);
      }
      expect(requests.perSource).toBeLessThan(requests.total / 2);
      expect(user.helloBytes).toBeLessThan(mesh.helloBytes);
    }),
  );
});

test("with too little memory there is as much room as with the least that is enough", () => {
  expect(coordinatorLimits(64 * MIB)).toEqual(coordinatorLimits(LEAST_BYTES));
});
