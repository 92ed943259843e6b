import { expect, test } from "vitest";
import { type Manifest, parseManifest } from "../../manifest/manifest.ts";
import { makeContext } from "../evidence/test-command.ts";
import { warningsOf } from "./warnings.ts";

function manifest(NotBefore?: string): Manifest {
  const ReferenceValues = { insecure: [{ RootDigest: "66".repeat(32), TrustedMeasurement: "77".repeat(48) }] };
  const document = { Policies: {}, ReferenceValues, WorkloadOwnerKeyDigests: [], SeedshareOwnerPubKeys: [], NotBefore };
  return parseManifest(Buffer.from(JSON.stringify(document)));
}

test.each([
  ["an earlier one", "2026-05-04T00:00:01Z", "from 2026-05-04T00:00:02Z to 2026-05-04T00:00:01Z"],
  ["none", undefined, "from 2026-05-04T00:00:02Z to none"],
  ["the same", "2026-05-04T00:00:02Z", undefined],
  ["a later one", "2026-05-04T00:00:03Z", undefined],
])("set warns of %s for NotBefore only where it takes the time back", async (_, next, warning) => {
  const { context } = makeContext(new Date(), "text");
  const active = { manifest: manifest("2026-05-04T00:00:02Z"), generation: 1, rootCa: "" };
  const warnings = (await warningsOf(context, active, manifest(next))).filter((text) => text.includes("$.NotBefore"));
  expect(warnings).toEqual(
    warning === undefined
      ? []
      : [`the manifest moves $.NotBefore back ${warning}: \`contrast generate\` makes it anew`],
  );
});
