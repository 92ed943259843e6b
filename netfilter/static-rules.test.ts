import { array, assert, constantFrom, integer, property, uniqueArray } from "fast-check";
import { expect, test } from "vitest";
import { installLines, printed, staticRules } from "./static-rules.ts";

test("what gets in by IPv4, and that all else does not", () => {
  expect(staticRules("IPv4", [1313, 7777])).toEqual({
    CONTRAST_INPUT: [
      "-i lo -j ACCEPT",
      "-m mark --mark 0x15006 -j ACCEPT",
      "-p tcp -m tcp --dport 1313 -j ACCEPT",
      "-p tcp -m tcp --dport 7777 -j ACCEPT",
      "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
      "-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT",
      "-p icmp -m icmp --icmp-type 3 -m conntrack --ctstate RELATED -j ACCEPT",
      "-p icmp -m icmp --icmp-type 11 -m conntrack --ctstate RELATED -j ACCEPT",
      "-p icmp -m icmp --icmp-type 12 -m conntrack --ctstate RELATED -j ACCEPT",
      "-j DROP",
    ],
    CONTRAST_FORWARD: ["-j DROP"],
  });
});

test("IPv6 differs in ICMP alone, and has its neighbours besides", () => {
  const others = (family: "IPv4" | "IPv6"): string[] =>
    staticRules(family, [80]).CONTRAST_INPUT.filter((rule) => !rule.includes("icmp"));
  expect(others("IPv6")).toEqual(others("IPv4"));
  expect(staticRules("IPv6", []).CONTRAST_INPUT.filter((rule) => rule.includes("icmp"))).toEqual([
    ...[1, 2, 3, 4].map(
      (type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type} -m conntrack --ctstate RELATED -j ACCEPT`,
    ),
    ...[130, 135, 136].map((type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type} -j ACCEPT`),
  ]);
});

test("whatever ports are open, the last word is no, and no interface but loopback is named", () => {
  const ports = uniqueArray(integer({ min: 1, max: 65_535 }));
  assert(
    property(ports, constantFrom("IPv4" as const, "IPv6" as const), (open, family) => {
      const { CONTRAST_INPUT: rules } = staticRules(family, open);
      expect(rules.at(-1)).toBe("-j DROP");
      expect(rules.filter((rule) => rule.includes("-i "))).toEqual(["-i lo -j ACCEPT"]);
      expect(rules.filter((rule) => rule.includes("--dport"))).toHaveLength(open.length);
    }),
  );
});

test("the chains are made and gone to in one commit, and nothing is asked before them", () => {
  const rules = staticRules("IPv4", []);
  assert(
    property(array(constantFrom(true, false), { minLength: 2, maxLength: 2 }), ([input = false, forward = false]) => {
      const lines = installLines(rules, { CONTRAST_INPUT: input, CONTRAST_FORWARD: forward });
      expect(lines.filter((line) => line.startsWith("-I"))).toEqual([
        "-I INPUT -j CONTRAST_INPUT",
        "-I FORWARD -j CONTRAST_FORWARD",
      ]);
      expect(lines.filter((line) => line.startsWith("-D"))).toHaveLength(Number(input) + Number(forward));
    }),
  );
  expect(printed("CONTRAST_FORWARD", rules.CONTRAST_FORWARD)).toEqual([
    "-N CONTRAST_FORWARD",
    "-A CONTRAST_FORWARD -j DROP",
  ]);
});
