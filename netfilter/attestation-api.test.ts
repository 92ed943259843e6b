import { expect, test } from "vitest";
import { attestationRules } from "./attestation-api.ts";

test("nobody in the VM gets to the API, by whatever address", () => {
  expect(attestationRules("IPv4", 8006, undefined)).toEqual([
    "-i lo -p tcp -m tcp --dport 8006 -j DROP",
    "-d 127.0.0.0/8 -p tcp -m tcp --dport 8006 -j DROP",
  ]);
  expect(attestationRules("IPv6", 8006, undefined)).toEqual([
    "-i lo -p tcp -m tcp --dport 8006 -j DROP",
    "-d ::1/128 -p tcp -m tcp --dport 8006 -j DROP",
  ]);
});

test("the one that is let in comes first, and from one port", () => {
  expect(attestationRules("IPv4", 8006, 20_001)[0]).toBe("-i lo -p tcp -m tcp --sport 20001 --dport 8006 -j RETURN");
});
