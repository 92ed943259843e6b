import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toUtf8 } from "../bytes/encode.ts";
import { ManifestError } from "./error.ts";
import { encodeInitdata, policyHash, regoOf } from "./initdata.ts";
import { fromAnnotation, toAnnotation } from "./initdata-annotation.ts";

const REGO = "package agent_policy\n\ndefault ExecProcessRequest := false\n";
const DOCUMENT = `version = "0.1.0"
algorithm = "sha256"

[data]
"policy.rego" = '''
${REGO}'''
`;

function refusal(action: () => unknown): ManifestError {
  try {
    action();
  } catch (error) {
    if (error instanceof ManifestError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

test("writes the document as it is specified", () => {
  expect(toUtf8(encodeInitdata(REGO))).toBe(DOCUMENT);
});

test("names a policy by the SHA-256 of the document", () => {
  expect(policyHash(Buffer.from(DOCUMENT))).toBe(createHash("sha256").update(DOCUMENT).digest("hex"));
});

test("gives back every policy that it can hold", () => {
  const line = fc.string({ unit: fc.constantFrom("'", '"', "\\", " ", "\t", "ä", "{", "}", "#", "$") });
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const rego = lines.join("\n");
      if (rego.includes("'''")) return;
      const document = encodeInitdata(rego);
      expect(regoOf(document)).toBe(rego);
      expect(fromAnnotation(toAnnotation(document))).toEqual(Buffer.from(document));
    }),
  );
});

test.for([
  ["three single quotes", "a '''\nb"],
  ["a carriage return", "a\r\nb"],
  ["a control character", "a\u0000b"],
  ["half a surrogate pair", "a\ud800b"],
])("refuses a policy with %s", ([, rego = ""]) => {
  expect(refusal(() => encodeInitdata(rego))).toMatchObject({ code: "malformed_initdata", where: "the policy" });
});

test.for([
  ["another version", DOCUMENT.replace("0.1.0", "0.2.0"), "version"],
  ["no version", DOCUMENT.replace(/version.*\n/, ""), "version"],
  ["a version that is a number", DOCUMENT.replace('"0.1.0"', "0.1"), "version"],
  ["another algorithm", DOCUMENT.replace("sha256", "sha384"), "algorithm"],
  ["no data", DOCUMENT.replace(/\[data\][^]*/, ""), 'data."policy.rego"'],
  ["data that is no table", DOCUMENT.replace(/\[data\][^]*/, 'data = "x"'), 'data."policy.rego"'],
  ["a policy that is no string", DOCUMENT.replace(/'''[^]*'''/, "1"), 'data."policy.rego"'],
  ["a second file, which the readers of the policy don't see", `${DOCUMENT}"aa.toml" = "x"\n`, '"data.aa.toml"'],
  ["a configuration of the guest's data hub that is not ours", `${DOCUMENT}"cdh.toml" = "x"\n`, 'data."cdh.toml"'],
  ["another table", `${DOCUMENT}[more]\n`, '"more"'],
  ["a key that stands twice", `version = "0.1.0"\n${DOCUMENT}`, "the document"],
  ["no TOML", "{}", "the document"],
  ["bytes that are not UTF-8", Buffer.from([0xff]), "the whole file"],
])("refuses a document with %s", ([, document, where]) => {
  expect(refusal(() => regoOf(Buffer.from(document ?? "")))).toMatchObject({ code: "malformed_initdata", where });
});

test("makes the same annotation on every machine", () => {
  expect(toAnnotation(Buffer.from(DOCUMENT))).toBe(
    "H4sIAAAAAAAE/wXBwQrCMAwA0Hu+IuSSW5mCHoQevYtXEQld1hXr2jWduL/3va82S2VBjzS4gxsIJMfSUp8/6JFsluPpTACPUbo8gWrJKeyuaSyEHpkZqoS3REWJuvRXLTmFHWDUSbbc8frTcGslqNld102t48XjJNkUmBn+OLNFBIEAAAA=",
  );
});

test.for([
  ["characters that are not base64", "H4s!"],
  ["base64 without its padding", Buffer.from("12345").toString("base64").replaceAll("=", "")],
  ["base64 with a line break", `${toAnnotation(Buffer.from(DOCUMENT))}\n`],
  ["bytes that are not gzip", Buffer.from(DOCUMENT).toString("base64")],
  ["gzip that is cut off", gzipSync(DOCUMENT).subarray(0, -9).toString("base64")],
  [
    "gzip with a wrong checksum",
    Buffer.concat([gzipSync(DOCUMENT).subarray(0, -8), Buffer.alloc(8)]).toString("base64"),
  ],
  ["a gigabyte in disguise", gzipSync(Buffer.alloc(1024 * 1024 + 1)).toString("base64")],
  ["nothing", ""],
])("refuses an annotation with %s", ([, text = ""]) => {
  expect(refusal(() => fromAnnotation(text)).code).toBe("malformed_initdata");
});
