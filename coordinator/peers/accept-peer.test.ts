import { expect, test } from "vitest";
import { acceptPeer, type Attested, type ListedPeer } from "./accept-peer.ts";

const own: Attested = {
  kind: "snp",
  policyHash: "aa".repeat(32),
  measurement: "11".repeat(48),
  exposed: false,
  simulated: false,
};
const old = { policyHash: "bb".repeat(32), measurement: "22".repeat(48) };

function refusal(peer: Partial<Attested>, listed: readonly ListedPeer[] = []): unknown {
  try {
    acceptPeer(own, { ...own, ...peer }, listed);
    return undefined;
  } catch (error) {
    return error;
  }
}

test("a peer that is launched as this one is accepted, and no other", () => {
  expect(refusal({})).toBeUndefined();
  for (const [what, peer] of Object.entries<Partial<Attested>>({
    policy: { policyHash: old.policyHash },
    measurement: { measurement: old.measurement },
    both: old,
    kind: { kind: "tdx" },
    "software TEE": { simulated: true },
    "a VM that its host may look into": { exposed: true },
  })) {
    expect(refusal(peer), what).toMatchObject({ code: "peer_not_accepted" });
  }
});

test("a listed policy is accepted with the own measurement, or with the one that is named with it", () => {
  const listed = [{ policy: old.policyHash, measurement: undefined }];
  expect(refusal({ policyHash: old.policyHash }, listed)).toBeUndefined();
  expect(refusal(old, listed)).toMatchObject({ where: "the peer's measurement" });
  const named = [{ policy: old.policyHash, measurement: old.measurement }];
  expect(refusal(old, named)).toBeUndefined();
  expect(refusal({ policyHash: old.policyHash }, named)).toMatchObject({ where: "the peer's measurement" });
  // What is named for one policy says nothing about another.
  expect(refusal({ measurement: old.measurement }, named)).toMatchObject({ where: "the peer's measurement" });
  expect(refusal({ measurement: old.measurement }, [{ policy: "own", measurement: old.measurement }])).toBeUndefined();
});

test("no list makes up for a software TEE, or for a VM that its host may look into", () => {
  const listed = [{ policy: old.policyHash, measurement: old.measurement }];
  expect(refusal({ ...old, exposed: true }, listed)).toMatchObject({ code: "peer_not_accepted" });
  expect(refusal({ ...old, simulated: true }, listed)).toMatchObject({ code: "peer_not_accepted" });
});

test("a Coordinator whose own host may look into it takes nothing from such a peer either", () => {
  expect(() => acceptPeer({ ...own, exposed: true }, { ...own, exposed: true }, [])).toThrow(
    expect.objectContaining({ code: "peer_not_accepted" }),
  );
});
