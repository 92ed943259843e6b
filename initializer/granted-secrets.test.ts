import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type NamedSecret, NamedSecretSchema } from "../api/meshapi_pb.ts";
import { LARGEST_SECRETS, MOST_SECRETS } from "../manifest/annex.ts";
import { grantedSecrets, requireNotOlder } from "./granted-secrets.ts";
import { SecretError } from "./secret-error.ts";

const VALUE = Buffer.from("hunter2, which nobody may read");

function given(name: string, version = 1, value: Uint8Array = VALUE): NamedSecret {
  return create(NamedSecretSchema, { name, version, value });
}

test("versions of one secret are together, the latest first, in whatever order they come", () => {
  expect(grantedSecrets([given("db", 2), given("api", 7), given("db", 3)])).toEqual([
    {
      name: "db",
      versions: [
        { version: 3, value: VALUE },
        { version: 2, value: VALUE },
      ],
    },
    { name: "api", versions: [{ version: 7, value: VALUE }] },
  ]);
  expect(grantedSecrets([])).toEqual([]);
});

test.each([
  "..",
  ".",
  "",
  "..data",
  "../key.pem",
  "a/../../etc/passwd",
  "/etc/passwd",
  "a/b",
  "a\\b",
  "a\0b",
  "a\nb",
  "a ",
  "db@2",
  "-rf",
  ".hidden",
  "workload-secret-seed",
  "workload-secret-seed.2",
  "ＤＢ",
  "a".repeat(64),
])("the name %j is refused", (name) => {
  expect(() => grantedSecrets([given("db"), given(name)])).toThrow(
    expect.objectContaining({ code: "malformed_secrets", where: "secret 2 of the answer" }) as Error,
  );
});

const LARGE = Buffer.alloc(64 * 1024, "x");

test.each<[string, NamedSecret[], string]>([
  ["version 0", [given("db", 0)], "version 0"],
  ["the same version twice", [given("db", 2), given("db", 2)], "version 2 of db again"],
  ["three versions", [given("db", 1), given("db", 2), given("db", 3)], "a version more of db"],
  ["nothing", [given("db", 1, Buffer.alloc(0))], "0 bytes"],
  ["too much", [given("db", 1, Buffer.alloc(64 * 1024 + 1))], "65537 bytes"],
  ["too many", Array.from({ length: MOST_SECRETS + 1 }, (_, i) => given(`s${i}`)), `${MOST_SECRETS + 1} secrets`],
  [
    "too much together",
    Array.from({ length: LARGEST_SECRETS / LARGE.length + 1 }, (_, i) => given(`s${i}`, 1, LARGE)),
    `secrets of ${LARGEST_SECRETS + LARGE.length} bytes together`,
  ],
])("%s is refused, and no value is told", (_, secrets, got) => {
  const refusal = (): SecretError => {
    try {
      grantedSecrets(secrets);
    } catch (error) {
      if (error instanceof SecretError) return error;
    }
    throw new Error("it was not refused");
  };
  expect(refusal()).toMatchObject({ code: "malformed_secrets", got, transient: false });
  expect(refusal().describe()).not.toContain("hunter2");
});

test("names that differ in case are two secrets, and as much as is allowed is taken", () => {
  expect(grantedSecrets([given("db"), given("DB")]).map(({ name }) => name)).toEqual(["db", "DB"]);
  const most = Array.from({ length: LARGEST_SECRETS / LARGE.length }, (_, i) => given(`s${i}`, 1, LARGE));
  expect(grantedSecrets(most)).toHaveLength(most.length);
});

test("a pod that runs does not go back to an older version; new and removed ones are no matter", () => {
  const before = new Map([
    ["db", 3],
    ["api", 1],
  ]);
  expect(() => requireNotOlder(before, new Map([["db", 3]]))).not.toThrow();
  expect(() => requireNotOlder(before, new Map([["new", 1]]))).not.toThrow();
  expect(() => requireNotOlder(before, new Map([["db", 2]]))).toThrow(
    expect.objectContaining({ code: "older_secrets", where: "the secret db", got: "version 2" }) as Error,
  );
});
