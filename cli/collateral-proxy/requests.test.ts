import { expect, test } from "vitest";
import { crlUrl, issuersUrl, vcekUrl } from "../../attestation/endorsements/amd.ts";
import { pckCrlUrl, QE_IDENTITY_URL, ROOT_CRL_URL, tcbInfoUrl } from "../../attestation/endorsements/intel.ts";
import { throughProxy } from "../../attestation/endorsements/proxy.ts";
import { proxiedRequest } from "./requests.ts";

const targetOf = (url: URL): string => {
  const { pathname, search } = throughProxy(url, new URL("http://proxy"));
  return `${pathname}${search}`;
};
const chipId = Buffer.alloc(64, 0xab);
const tcb = { fmc: 1, bootloader: 10, tee: 0, snp: 23, microcode: 255 };
const turinId = Buffer.concat([Buffer.alloc(8, 0xcd)], 64);
const OPEN = [
  vcekUrl({ product: "Milan", chipId, tcb }),
  vcekUrl({ product: "Genoa", chipId, tcb }),
  vcekUrl({ product: "Turin", chipId: turinId, tcb }),
  tcbInfoUrl(Buffer.from("00806f050000", "hex")),
];
const FEW = [
  issuersUrl("vcek", "Milan"),
  issuersUrl("vlek", "Turin"),
  crlUrl("vcek", "Genoa"),
  crlUrl("vlek", "Milan"),
  QE_IDENTITY_URL,
  ROOT_CRL_URL,
  pckCrlUrl("platform"),
  pckCrlUrl("processor"),
];

test.each([...OPEN, ...FEW].map((url) => [url.href, url]))("whatever the programs ask for is asked: %s", (_, url) => {
  const request = proxiedRequest(targetOf(url));
  expect(request?.endorsement.url.href).toBe(url.href);
  expect(request?.isOpenEnded).toBe(OPEN.includes(url));
});

const VCEK = targetOf(vcekUrl({ product: "Milan", chipId, tcb }));
const TCB = targetOf(tcbInfoUrl(Buffer.from("00806f050000", "hex")));

test.each<[string, string]>([
  ["nothing", "/"],
  ["another host", "/example.com/vcek/v1/Milan/crl"],
  ["a host with a port", "/kdsintf.amd.com:8443/vcek/v1/Milan/crl"],
  ["another host as user name", "/kdsintf.amd.com@example.com/vcek/v1/Milan/crl"],
  ["another path", "/kdsintf.amd.com/"],
  ["the instance metadata of a cloud", "/169.254.169.254/metadata/THIM/amd/certification"],
  ["a path that climbs", "/kdsintf.amd.com/vcek/v1/Milan/../../../secret"],
  ["a path that climbs, encoded", "/kdsintf.amd.com/vcek/v1/Milan/%2e%2e/crl"],
  ["two slashes", "//kdsintf.amd.com/vcek/v1/Milan/crl"],
  ["an absolute URL", "http://kdsintf.amd.com/vcek/v1/Milan/crl"],
  ["a product that is none", "/kdsintf.amd.com/vcek/v1/Rome/crl"],
  ["a parameter more", `${VCEK}&x=1`],
  ["a parameter twice", `${VCEK}&blSPL=1`],
  ["a fragment", "/kdsintf.amd.com/vcek/v1/Milan/crl#x"],
  ["a query where there is none", "/kdsintf.amd.com/vcek/v1/Milan/crl?a=b"],
  ["a chip in upper case", VCEK.replace("abab", "ABAB")],
  ["a chip that is too short", VCEK.replace("abab", "ab")],
  ["a part above a byte", VCEK.replace("blSPL=10", "blSPL=256")],
  ["a part with a zero before it", VCEK.replace("blSPL=10", "blSPL=010")],
  ["a part of Turin's for Milan", VCEK.replace("?blSPL", "?fmcSPL=1&blSPL")],
  ["an encoded letter", VCEK.replace("Milan", "%4Dilan")],
  ["a family that is too long", `${TCB}00`],
  ["another version of the API", TCB.replace("v4", "v3")],
  ["a line break", `${TCB}\r\nhost: example.com`],
])("nothing else is: %s", (_, target) => {
  expect(proxiedRequest(target)).toBeUndefined();
});
