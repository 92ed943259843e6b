import { expect, test } from "vitest";
import { peerAddresses } from "./addresses.ts";

const names: Readonly<Record<string, string[]>> = {
  peers: ["10.0.0.1", "10.0.0.2", "fd00::3"],
  "10.0.0.9": ["10.0.0.9"],
};
const lookup = async (host: string) => {
  const found = names[host];
  if (found === undefined) throw new Error(`ENOTFOUND ${host}`);
  return found.map((address) => ({ address }));
};
const resolver = { lookup, own: () => ["127.0.0.1", "10.0.0.2"] };

test("every address of a name is a peer, but for the own one", async () => {
  expect(await peerAddresses([{ host: "peers", port: 7777 }], resolver)).toEqual(["10.0.0.1:7777", "[fd00::3]:7777"]);
});

test("an address that two hosts have is one peer, and a host that is unknown keeps nobody out", async () => {
  const hosts = ["gone", "peers", "10.0.0.9", "10.0.0.9"].map((host) => ({ host, port: 1 }));
  expect(await peerAddresses(hosts, resolver)).toEqual(["10.0.0.1:1", "[fd00::3]:1", "10.0.0.9:1"]);
});

test("where no host is known, nobody is forgotten: it fails", async () => {
  await expect(peerAddresses([{ host: "gone", port: 1 }], resolver)).rejects.toThrow("ENOTFOUND gone");
  expect(await peerAddresses([], resolver)).toEqual([]);
});
