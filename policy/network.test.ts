import { BlockList } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { type Engine, isAllowed } from "./test-opa.ts";
import { IMAGES, testPod } from "./test-pods.ts";
import type { Request } from "./test-container.ts";

/** Addresses and interfaces, of which the host may set all but the VM's own. */

const LINK = {
  device: "eth0",
  name: "eth0",
  mtu: 1500,
  hwAddr: "66:74:9f:6a:96:01",
  devicePath: "02/00",
  raw_flags: 128,
  type_: "",
};
const ROUTE = { dest: "", gateway: "", device: "eth0", source: "", scope: 0, family: 0, flags: 0, mtu: 0 };
const NEIGHBOR = { device: "eth0", lladdr: "66:74:9f:6a:96:02", state: 128, flags: 0 };

const interfaceWith = (change: object): Request => {
  return { kind: "UpdateInterfaceRequest", request: { interface: { ...LINK, IPAddresses: [], ...change } } };
};
const routeWith = (change: object): Request => {
  return { kind: "UpdateRoutesRequest", request: { routes: { Routes: [ROUTE, { ...ROUTE, ...change }] } } };
};
const neighborWith = (change: object): Request => {
  const toIPAddress = { address: "10.244.0.1", family: 0, mask: "" };
  const ARPNeighbors = [{ ...NEIGHBOR, toIPAddress, ...change }];
  return { kind: "AddARPNeighborsRequest", request: { neighbors: { ARPNeighbors } } };
};

/** Every place of a request where an address may be. */
const withAddress = (address: string, mask: string): Request[] => {
  const toIPAddress = { address, family: 0, mask };
  return [
    interfaceWith({ IPAddresses: [{ address, family: 0, mask }] }),
    routeWith({ dest: `${address}/${mask}` }),
    routeWith({ dest: address }),
    routeWith({ source: address }),
    routeWith({ source: `${address}/${mask}` }),
    routeWith({ gateway: address }),
    neighborWith({ toIPAddress }),
  ];
};

/** What is the VM's own in every VM. In ::/16 are loopback and IPv4 in all its forms. Apart: each finds the other's, too. */
const OWN = { ipv4: new BlockList(), ipv6: new BlockList() };
OWN.ipv4.addSubnet("127.0.0.0", 8, "ipv4");
OWN.ipv4.addSubnet("0.0.0.0", 8, "ipv4");
OWN.ipv6.addSubnet("::", 16, "ipv6");

if (NO_ENGINE !== undefined) test.skip(`the host sets no address of the VM's own: ${NO_ENGINE}`);
else
  describe("a policy", () => {
    let engine: Engine;

    beforeAll(async () => {
      const { subject, spec } = testPod("image defaults");
      engine = await startEngine({
        both: policyOf(subject, spec, IMAGES),
        "IPv4 only": policyOf(subject, spec, IMAGES, { ipv4Only: true }),
      });
    });
    afterAll(() => engine.stop());

    const allowed = async (requests: readonly Request[], policy = "both"): Promise<boolean[]> =>
      (await engine.ask(requests.map((request) => ({ ...request, policy })))).map(isAllowed);

    const BOTH_KINDS: [string, string][] = [
      ["10.244.0.14", "24"],
      ["169.254.1.1", "32"],
      ["192.0.2.255", "8"],
      ["128.0.0.0", "1"],
      ["224.0.0.0", "4"],
      ["126.255.255.255", "8"],
      ["1.0.0.0", "8"],
    ];
    const IPV6: [string, string][] = [
      ["fd00::14", "64"],
      ["fe80::6474:9fff:fe6a:9601", "64"],
      ["2001:db8::1", "128"],
      ["64:ff9b::", "96"],
      ["fc00::", "7"],
      ["2000::", "3"],
      ["ff00::", "8"],
    ];

    test.each([...BOTH_KINDS, ...IPV6])("lets the host set %s/%s", async (address, mask) => {
      expect(await allowed(withAddress(address, mask))).not.toContain(false);
    });

    test.each([
      ["127.0.0.1", "8"],
      ["127.137.0.1", "32"],
      ["0.0.0.0", "32"],
      ["::1", "128"],
      ["::", "128"],
      ["0:0:0:0:0:0:0:1", "128"],
      ["0000:0000::0001", "128"],
      ["::0.0.0.1", "128"],
      ["::127.0.0.1", "128"],
      ["::ffff:127.0.0.1", "128"],
      ["::ffff:7f00:1", "128"],
      ["::FFFF:7F00:1", "128"],
      ["0:0:0:0:0:ffff:7f00:0001", "128"],
      ["::ffff:0:7f00:1", "128"],
      ["::ffff:10.0.0.1", "128"],
      ["127.1", "8"],
      ["2130706433", "32"],
      ["0x7f.0.0.1", "8"],
      ["0177.0.0.1", "8"],
      ["010.0.0.1", "8"],
      ["127.000.000.001", "8"],
      [" 127.0.0.1", "8"],
      ["127.0.0.1\u0000", "8"],
      ["10.0.0.1\n127.0.0.1", "8"],
      ["::1%eth0", "128"],
      ["fe80::1%lo", "64"],
      ["fd00::127.0.0.1", "64"],
      ["localhost", "8"],
      ["10.0.0.256", "24"],
      ["10.0.0", "24"],
      ["10.0.0.1.1", "24"],
      ["١٠.0.0.1", "24"],
      ["[fd00::1]", "64"],
    ])("lets it set %j nowhere", async (address, mask) => {
      expect(await allowed(withAddress(address, mask))).not.toContain(true);
    });

    test.each([
      ["126.0.0.0", "7"],
      ["126.255.255.255", "7"],
      ["124.0.0.1", "6"],
      ["120.1.1.1", "5"],
      ["112.1.1.1", "4"],
      ["96.1.1.1", "3"],
      ["64.1.1.1", "2"],
      ["1.1.1.1", "1"],
      ["10.0.0.0", "0"],
      ["128.0.0.0", "0"],
      ["10.0.0.0", "08"],
      ["10.0.0.0", "+8"],
      ["10.0.0.0", "33"],
      ["10.0.0.0", "-1"],
      ["10.0.0.0", "255.0.0.0"],
      ["126.0.0.0", "254.0.0.0"],
      ["10.0.0.0", "8/8"],
      ["10.0.0.0", ""],
      ["10.0.0.0", " 8"],
      ["1::", "15"],
      ["f::", "12"],
      ["fff::", "4"],
      ["1000::", "3"],
      ["2000::", "2"],
      ["8000::", "1"],
      ["fd00::", "0"],
      ["fd00::", "129"],
      ["fd00::", "064"],
    ])(
      "lets it set no network %j/%j, in which loopback is or whose size can be read in two ways",
      async (address, mask) => {
        const requests = [
          interfaceWith({ IPAddresses: [{ address, family: 0, mask }] }),
          routeWith({ dest: `${address}/${mask}` }),
          routeWith({ source: `${address}/${mask}` }),
        ];
        expect(await allowed(requests)).not.toContain(true);
      },
    );

    test(
      "no network that it lets the host set has an address of the VM's own in it",
      { timeout: 120_000 },
      async () => {
        const part = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x7f00, 0xffff), fc.nat(0xffff));
        const separator = fc.constantFrom(":", ":", ":", "::");
        const text16 = fc
          .tuple(part, fc.constantFrom(0, 0, 4))
          .map(([n, width]) => n.toString(16).padStart(width, "0"));
        const ipv6 = fc
          .array(fc.tuple(text16, separator), { minLength: 1, maxLength: 8 })
          .map((parts) => parts.flat().join(""))
          .chain((text) => fc.constantFrom(text, text.replace(/:+$/, ""), `::${text.replace(/:+$/, "")}`));
        const octet = fc.oneof(fc.constantFrom(0, 1, 126, 127, 128, 255), fc.nat(300));
        const ipv4 = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join("."));
        const mixed = ipv4.map((text) => `::ffff:${text}`);
        const network = fc.tuple(fc.oneof(ipv4, ipv6, mixed), fc.nat(130));
        const samples = fc.sample(network, { numRuns: 4000, seed: 13 });
        const answers = await allowed(samples.map(([address, length]) => routeWith({ dest: `${address}/${length}` })));
        const wrong = samples.filter(([address, length], index) => answers[index] && touchesOwn(address, length));
        expect(wrong).toEqual([]);
        // Not by refusing everything.
        expect(answers.filter(Boolean).length).toBeGreaterThan(500);
      },
    );

    test("takes a default route of either kind", async () => {
      const routes = [{ dest: "" }, { dest: "0.0.0.0/0" }, { dest: "::/0", family: 1 }, { dest: "", family: 1 }];
      expect(await allowed(routes.map((route) => routeWith({ ...route, gateway: "10.244.0.1" })))).not.toContain(false);
    });

    test.each(["lo", "lo\u0000", "lo\u0000x", "", "\u0000", "eth0\u0000", "lo ", "../lo", "eth0/1", "x".repeat(16)])(
      "takes no interface by the name %j",
      async (name) => {
        const requests = [
          interfaceWith({ name }),
          interfaceWith({ device: name }),
          routeWith({ device: name }),
          neighborWith({ device: name }),
        ];
        expect(await allowed(requests)).not.toContain(true);
      },
    );

    test.each([
      { hwAddr: "00:00:00:00:00:00" },
      { hwAddr: "0:0:0:0:0:0" },
      { hwAddr: "" },
      { hwAddr: "00:00:00:00:00:00:01" },
      { hwAddr: "+0:00:00:00:00:0a" },
      { devicePath: "../../../virtual" },
      { devicePath: "02/../../virtual/net" },
      { raw_flags: 8 },
      { unknown: "x" },
      { IPAddresses: [{ address: "10.0.0.1", mask: "24", family: 0, unknown: "x" }] },
    ])("takes no interface with %j", async (change) => {
      expect(await allowed([interfaceWith({}), interfaceWith(change)])).toEqual([true, false]);
    });

    test("takes no field that it does not know", async () => {
      const requests = [routeWith({}), neighborWith({}), routeWith({ unknown: "x" }), neighborWith({ unknown: "x" })];
      expect(await allowed(requests)).toEqual([true, true, false, false]);
    });

    test("refuses every address and route of IPv6 where the pod has IPv4 only", async () => {
      for (const [address, mask] of IPV6)
        expect(await allowed(withAddress(address, mask), "IPv4 only")).not.toContain(true);
      for (const [address, mask] of BOTH_KINDS) {
        expect(await allowed(withAddress(address, mask), "IPv4 only")).not.toContain(false);
      }
      const routes = [
        { dest: "::/0", family: 1 },
        { dest: "", family: 1 },
        { dest: "0.0.0.0/0", family: 1 },
        { dest: "", family: 0 },
      ];
      expect(await allowed(routes.map(routeWith), "IPv4 only")).toEqual([false, false, false, true]);
    });
  });

/** By the address that the network begins with and the one that it ends with: what is in between, is too. */
function touchesOwn(address: string, length: number): boolean {
  const family = address.includes(":") ? "ipv6" : "ipv4";
  const network = new BlockList();
  try {
    network.addSubnet(address, length, family);
  } catch {
    // The agent can't read it either.
    return false;
  }
  const samples = family === "ipv4" ? ["127.0.0.0", "127.255.255.255", "0.0.0.0"] : ["::", "::1", "::ffff:127.0.0.1"];
  return OWN[family].check(address, family) || samples.some((sample) => network.check(sample, family));
}
