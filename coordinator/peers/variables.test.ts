import { expect, test } from "vitest";
import { readEnvironment } from "../../runtime/environment.ts";
import { peerVariables } from "./variables.ts";

const read = (environment: Record<string, string>) => readEnvironment(peerVariables, environment);
const hash = "ab".repeat(32);
const measurement = "cd".repeat(48);

test("without them there are no peers, and only those like this one are accepted", () => {
  expect(read({})).toEqual({ CONTRAST_PEERS: [], CONTRAST_PEER_POLICIES: [] });
});

test("hosts are names or addresses with a port", () => {
  expect(read({ CONTRAST_PEERS: "coordinator-peers.ns.svc.:7777,10.0.0.1:1,[fd00::1]:65535" }).CONTRAST_PEERS).toEqual([
    { host: "coordinator-peers.ns.svc.", port: 7777 },
    { host: "10.0.0.1", port: 1 },
    { host: "fd00::1", port: 65_535 },
  ]);
});

test.each([
  "",
  "peers",
  "peers:",
  "peers:0",
  "peers:65536",
  "peers:07777",
  " peers:7777",
  "peers:7777,",
  "peers:7777,peers:7777",
  "fd00::1:7777",
  "[10.0.0.1]:7777",
  "-peers:7777",
  "pe/ers:7777",
  `${"a".repeat(64)}:7777`,
  Array.from({ length: 17 }, (_, index) => `p${index}:1`).join(),
])("CONTRAST_PEERS=%s is refused", (text) => {
  expect(() => read({ CONTRAST_PEERS: text })).toThrow(expect.objectContaining({ code: "configuration" }));
});

test("policies are hashes, with a measurement where it is another one", () => {
  const text = `${hash},${hash}@${measurement},own@${measurement}`;
  expect(read({ CONTRAST_PEER_POLICIES: text }).CONTRAST_PEER_POLICIES).toEqual([
    { policy: hash, measurement: undefined },
    { policy: hash, measurement },
    { policy: "own", measurement },
  ]);
});

test.each([
  "",
  "own",
  "any",
  "*",
  hash.toUpperCase(),
  hash.slice(1),
  `${hash}@`,
  `${hash}@${measurement.slice(2)}`,
  `${hash}@${measurement}00`,
  `${hash} @${measurement}`,
  `${hash},${hash}`,
  `${hash},`,
])("CONTRAST_PEER_POLICIES=%s is refused", (text) => {
  expect(() => read({ CONTRAST_PEER_POLICIES: text })).toThrow(expect.objectContaining({ code: "configuration" }));
});
