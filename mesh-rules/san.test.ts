import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { createMesh } from "../pki/test-mesh.ts";
import { carriesSan, parseSan } from "./san.ts";

test.each(["web", "*", "a.example.", "_x.y", "10.0.0.1", "::1", "spiffe://mesh/web", "urn:mesh:web"])(
  "%j is a name that a certificate can carry",
  (text) => {
    expect(parseSan(text)).toBe(text);
  },
);

test.each(["", " web", "w eb", "*.example", "web,db", "300.0.0.1", "spiffe:", "spiffe://mesh/ü", "[::1]"])(
  "%j is no name that a certificate can carry",
  (text) => {
    expect(parseSan(text)).toBeUndefined();
  },
);

test.each([
  [["web"], "web", true],
  [["WEB"], "web", true],
  [["db", "web"], "web", true],
  [["web.example"], "web", false],
  [["*"], "web", false],
  [["web", "*"], "web", true],
  [["db", "*"], "web", false],
  [["*"], "*", true],
  [["web"], "*", false],
  [["*.example"], "web.example", false],
  [["*"], "10.0.0.1", false],
  [["*"], "spiffe://mesh/web", false],
  [["10.0.0.1"], "10.0.0.1", true],
  [["10.0.0.2"], "10.0.0.1", false],
  [["2001:db8:0::1"], "2001:db8::1", true],
  [["spiffe://mesh/web"], "spiffe://mesh/web", true],
  [["spiffe://mesh/web"], "spiffe://mesh/WEB", false],
  // A name that looks like two where names are joined by commas.
  [["x, URI:spiffe://mesh/web, y"], "spiffe://mesh/web", false],
])("a certificate for %j carries %j: %s", async (sans, san, carries) => {
  const mesh = await createMesh();
  const { certChain } = await mesh.issue({ sans });
  expect(carriesSan(new X509Certificate(certChain), san)).toBe(carries);
});
