import { expect, test } from "vitest";
import { parseIngressRules } from "../../mesh-rules/ingress-rules.ts";
import { chainLines } from "./rules.ts";

const rules = parseIngressRules("web#8080#false##metrics#9090#true##admin#9102#false");

test("the rules come before the admin port, and that before all other ports", () => {
  expect(chainLines("IPv4", { rules, adminPort: 9102 }, false)).toEqual([
    ":CONTRAST_INGRESS - [0:0]",
    "-A CONTRAST_INGRESS -i lo -j RETURN",
    "-A CONTRAST_INGRESS -p tcp ! --syn -m conntrack --ctdir REPLY -j RETURN",
    "-A CONTRAST_INGRESS -p tcp --dport 8080 -j TPROXY --on-ip 127.0.0.1 --on-port 15007 --tproxy-mark 0x15006",
    "-A CONTRAST_INGRESS -p tcp --dport 9090 -j RETURN",
    "-A CONTRAST_INGRESS -p tcp --dport 9102 -j TPROXY --on-ip 127.0.0.1 --on-port 15007 --tproxy-mark 0x15006",
    "-A CONTRAST_INGRESS -p tcp --dport 9102 -j RETURN",
    "-A CONTRAST_INGRESS -p tcp -j TPROXY --on-ip 127.0.0.1 --on-port 15006 --tproxy-mark 0x15006",
    "-I PREROUTING -p tcp -j CONTRAST_INGRESS",
  ]);
});

test("without rules every port needs a client certificate, and one jump is enough", () => {
  expect(chainLines("IPv6", { rules: [], adminPort: undefined }, true)).toEqual([
    ":CONTRAST_INGRESS - [0:0]",
    "-A CONTRAST_INGRESS -i lo -j RETURN",
    "-A CONTRAST_INGRESS -p tcp ! --syn -m conntrack --ctdir REPLY -j RETURN",
    "-A CONTRAST_INGRESS -p tcp -j TPROXY --on-ip ::1 --on-port 15006 --tproxy-mark 0x15006",
  ]);
});
