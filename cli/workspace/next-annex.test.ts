import { expect, test } from "vitest";
import { type Annex, EMPTY_ANNEX, parseAnnex } from "../../manifest/annex.ts";
import { annexOf, digest, secret, version } from "../../manifest/test-annex.ts";
import { annexChanges, annexSummary } from "../../report/annex-changes.ts";
import { requireNextAnnex, withFormatAllowed, withoutSecret, withSecret } from "./next-annex.ts";

const web = (number: number, readers = ["workload:web"]) => version(number, digest(number + 100), readers);

test("each command's annex may follow the one before, and has one encoding", () => {
  let before: Annex = EMPTY_ANNEX;
  const follow = (next: Annex): Annex => {
    expect(parseAnnex(requireNextAnnex(before, next))).toEqual(next);
    before = next;
    return next;
  };
  follow(withSecret(before, "db", web(1), false));
  expect(follow(withSecret(before, "db", web(2), false)).secrets.get("db")?.versions).toHaveLength(2);
  expect(
    follow(withSecret(before, "db", web(3), false))
      .secrets.get("db")
      ?.versions.map((one) => one.version),
  ).toEqual([3, 2]);
  expect(follow(withSecret(before, "db", web(4), true)).secrets.get("db")?.versions).toHaveLength(1);
  expect(follow(withoutSecret(before, "db")).secrets.get("db")).toEqual({ latestVersion: 4, versions: [] });
  // The number does not come again, and nothing of before comes back.
  expect(follow(withSecret(before, "db", web(5), false)).secrets.get("db")?.versions).toHaveLength(1);
  follow(withFormatAllowed(before, "a/b", "data"));
  expect(
    follow(withFormatAllowed(before, "a/b", "data"))
      .volumes.get("a/b")
      ?.get("data"),
  ).toEqual({ allowed: 2, used: 0 });
});

test("what may not follow is refused before anybody is asked", () => {
  const before = annexOf({ db: secret(1, web(1)) });
  expect(() => requireNextAnnex(before, before)).toThrow("may not change so");
  expect(() => requireNextAnnex(before, EMPTY_ANNEX)).toThrow();
  expect(() => requireNextAnnex(before, withSecret(before, "db", web(3), false))).toThrow();
  const many = Object.fromEntries(
    Array.from({ length: 256 }, (_, index) => [`s${index}`, secret(1, version(1, digest(index + 1)))]),
  );
  expect(() => requireNextAnnex(annexOf(many), withSecret(annexOf(many), "one-more", web(1), false))).toThrow(
    expect.objectContaining({ code: "invalid_annex", got: "257 secrets" }),
  );
});

test("a summary has name, versions and readers, before and after", () => {
  const [one, two] = [web(1), web(2, ["policy:" + "ab".repeat(32), "workload:web"])];
  const before = annexOf({ db: secret(1, one), old: secret(2, web(2)) }, { web: { data: { allowed: 2, used: 1 } } });
  const after = annexOf(
    { db: secret(2, two, one), new: secret(1, version(1, digest(7))), old: secret(2) },
    { web: { data: { allowed: 3, used: 2 }, log: { allowed: 1, used: 0 } } },
  );
  expect(annexSummary(before, after)).toEqual([
    `secret db: version 2, read by policy:${"ab".repeat(32)}, workload:web; version 1, read by workload:web (before: version 1, read by workload:web)`,
    "secret new: version 1, read by workload:web",
    "secret old: removed with all versions (before: version 2, read by workload:web)",
    "volume web/data: formatted, by leave 2 (1 of 3 left)",
    "volume web/data: may be formatted once more, whatever is on it (1 of 3 left)",
    "volume web/log: may be formatted once more, whatever is on it (1 of 1 left)",
  ]);
  expect(annexSummary(before, before)).toEqual([]);
  const changes = annexChanges(before, after);
  expect(changes.filter(({ subject }) => subject === "secret db")).toEqual([
    { kind: "changed", subject: "secret db", path: "latest version", from: "1", to: "2" },
    { kind: "changed", subject: "secret db", path: "readers", from: null, to: `"policy:${"ab".repeat(32)}"` },
    { kind: "changed", subject: "secret db", path: "ciphertext", from: `"${digest(101)}"`, to: `"${digest(102)}"` },
    {
      kind: "changed",
      subject: "secret db",
      path: "readable before it",
      from: null,
      to: '{"version":1,"readers":["workload:web"]}',
    },
  ]);
  expect(changes.find(({ subject }) => subject === "secret old")?.kind).toBe("removed");
  expect(changes.find(({ subject }) => subject === "secret new")?.kind).toBe("added");
  expect(changes.filter(({ subject }) => subject === "volume web/data").map(({ path, to }) => [path, to])).toEqual([
    ["formats allowed", "3"],
    ["formats used", "2"],
  ]);
});
