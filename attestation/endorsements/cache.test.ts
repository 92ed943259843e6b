import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { EndorsementCache, EndorsementRequest } from "./cache.ts";
import type { EndorsementCode } from "./error.ts";
import {
  answerWith,
  startService,
  testCache,
  type TestNetwork,
  testNetwork,
  type TestService,
} from "./test-service.ts";

const NOW = new Date("2026-06-01T00:00:00Z");
const HOUR = 60 * 60 * 1000;
const PATH = "vendor.example/list";

/** Answers of this test say themselves until when they are valid: `<name> until <time>`. */
function request(path = PATH): EndorsementRequest {
  return {
    url: new URL(`https://${path}`),
    what: "a list",
    header: "x-chain",
    validUntil: ({ body }) => {
      const [, time] = / until (.*)$/.exec(body.toString()) ?? [];
      if (time === undefined) throw new Error("no list");
      return new Date(time);
    },
  };
}

function list(name: string, hours: number): string {
  return `${name} until ${later(hours).toISOString()}`;
}

function later(hours: number): Date {
  return new Date(NOW.getTime() + hours * HOUR);
}

async function text(cache: EndorsementCache): Promise<string> {
  const { body } = await cache.get(request());
  return body.toString().split(" ")[0] ?? "";
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "endorsements-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function refusal(code: EndorsementCode): unknown {
  return expect.objectContaining({ name: "EndorsementError", code });
}

interface Setup {
  readonly service: TestService;
  readonly network: TestNetwork;
  readonly directory: string;
}

async function setup(): Promise<Setup> {
  return { service: await startService(), network: testNetwork(NOW), directory: join(temporaryDirectory(), "cache") };
}

/** A directory in which the vendor's answer is kept, fetched at NOW. */
async function setupWithKept(name: string, hours: number): Promise<Setup> {
  const all = await setup();
  const { service, network, directory } = all;
  service.answers.set(PATH, answerWith(list(name, hours), { "x-chain": "chain" }));
  await testCache(service, network, directory).cache.get(request());
  service.requests.length = 0;
  return all;
}

test("an answer is kept, with its header, and not asked for again while it is fresh", async () => {
  const { service, network, directory } = await setup();
  service.answers.set(PATH, answerWith(list("first", 100), { "cache-control": "max-age=7200", "x-chain": "chain" }));
  const { cache } = testCache(service, network, directory);
  for (const hours of [0, 1, 1.99]) {
    network.time = later(hours);
    expect(await cache.get(request())).toMatchObject({ header: "chain" });
  }
  expect(service.requests).toEqual([PATH]);
  network.time = later(2);
  await cache.get(request());
  expect(service.requests).toHaveLength(2);
});

test("an answer is asked for again when it is not valid any more, however long HTTP calls it fresh", async () => {
  const { service, network } = await setup();
  service.answers.set(PATH, answerWith(list("first", 2), { "cache-control": "max-age=86400" }));
  const { cache } = testCache(service, network);
  expect(await text(cache)).toBe("first");
  service.answers.set(PATH, answerWith(list("second", 100)));
  network.time = later(1.99);
  expect(await text(cache)).toBe("first");
  network.time = later(2);
  expect(await text(cache)).toBe("second");
});

test("many who ask for one thing at once make one request", async () => {
  const { service, network, directory } = await setup();
  const waiting: ServerResponse[] = [];
  service.answers.set(PATH, (response) => waiting.push(response));
  const { cache } = testCache(service, network, directory);
  const answers = Array.from({ length: 50 }, () => text(cache));
  await expect.poll(() => waiting.length).toBe(1);
  answers.push(text(cache));
  for (const response of waiting) response.end(list("first", 100));
  expect(new Set(await Promise.all(answers))).toEqual(new Set(["first"]));
  expect(service.requests).toHaveLength(1);
});

const SECOND = 1 / 3600;

test("those who waited together fail together, and so does the next one; a while later the vendor is asked anew", async () => {
  const { service, network } = await setup();
  const { cache } = testCache(service, network);
  const outcomes = await Promise.allSettled([text(cache), text(cache)]);
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  service.answers.set(PATH, answerWith(list("first", 100)));
  network.time = later(7 * SECOND);
  await expect(text(cache)).rejects.toEqual(refusal("vendor_refused"));
  expect(service.requests).toHaveLength(1);
  network.time = later(8 * SECOND);
  expect(await text(cache)).toBe("first");
});

test.each<[string, (service: TestService) => unknown, number]>([
  ["is down", ({ answers }) => answers.set(PATH, (response) => response.writeHead(503).end()), 3],
  ["does not have it", ({ answers }) => answers.delete(PATH), 1],
  ["talks nonsense", ({ answers }) => answers.set(PATH, answerWith("<html>")), 1],
  ["hands out an old one", ({ answers }) => answers.set(PATH, answerWith(list("old", -1))), 1],
])("a vendor that %s is asked more and more seldom, however often somebody wants it", async (_, fail, tries) => {
  const { service, network } = await setup();
  await fail(service);
  const { cache } = testCache(service, network);
  for (let second = 0; second < 3600; second += 5) {
    network.time = later(second * SECOND);
    await expect(text(cache)).rejects.toThrow();
  }
  // After 7.5, 15, 30, 60 and 120 seconds, then every 225.
  expect(service.requests.length).toBeLessThanOrEqual(22 * tries);
  expect(service.requests.length).toBeGreaterThanOrEqual(15 * tries);
  service.answers.set(PATH, answerWith(list("first", 100)));
  network.time = later(2);
  expect(await text(cache)).toBe("first");
});

test("what is kept is asked for again where it turned out to be superseded, once in a while", async () => {
  const { service, network } = await setup();
  service.answers.set(PATH, answerWith(list("first", 100)));
  const { cache, warnings } = testCache(service, network);
  const renew = async (): Promise<string> => {
    const { body } = await cache.get(request(), { renew: true });
    return body.toString().split(" ")[0] ?? "";
  };
  expect(await text(cache)).toBe("first");
  service.answers.set(PATH, answerWith(list("second", 100)));
  network.time = later(299 * SECOND);
  expect(await renew()).toBe("first");
  network.time = later(300 * SECOND);
  expect([await text(cache), await renew(), await renew(), await text(cache)]).toEqual([
    "first",
    "second",
    "second",
    "second",
  ]);
  expect(service.requests).toHaveLength(2);
  // A vendor that can't be asked does not take away what is there, and is not asked by each who would like it newer.
  service.answers.delete(PATH);
  network.time = later(601 * SECOND);
  expect([await renew(), await renew(), await renew()]).toEqual(["second", "second", "second"]);
  expect(service.requests).toHaveLength(3);
  expect(warnings.length).toBeGreaterThan(0);
});

test("a restart finds what was kept on disk, and does not ask while it is fresh", async () => {
  const { service, network, directory } = await setupWithKept("first", 100);
  await service.close();
  const { cache, warnings } = testCache(service, network, directory);
  expect(await cache.get(request())).toMatchObject({ header: "chain" });
  expect(warnings).toEqual([]);
});

test.each<[string, (service: TestService) => unknown]>([
  ["is down", (service) => service.close()],
  ["is broken", ({ answers }) => answers.set(PATH, (response) => response.writeHead(500).end())],
  ["has lost it", ({ answers }) => answers.delete(PATH)],
  ["talks nonsense", ({ answers }) => answers.set(PATH, answerWith("<html>"))],
  ["hands out an old one", ({ answers }) => answers.set(PATH, answerWith(list("old", -1)))],
])(
  "while the vendor %s, what it said before is used as long as it is valid, and not a moment longer",
  async (_, fail) => {
    const { service, network, directory } = await setupWithKept("first", 100);
    await fail(service);
    for (const { cache, warnings } of [
      testCache(service, network, directory),
      testCache(service, network, directory),
    ]) {
      network.time = later(99);
      expect(await text(cache)).toBe("first");
      expect(warnings).toHaveLength(1);
      network.time = later(100);
      await expect(text(cache)).rejects.toThrow();
    }
  },
);

test("a vendor that is down is not asked for a while, then again", async () => {
  const { service, network, directory } = await setupWithKept("first", 100);
  service.answers.set(PATH, (response) => response.writeHead(503).end());
  const { cache } = testCache(service, network, directory);
  for (const minutes of [0, 1, 4.9]) {
    network.time = later(50 + minutes / 60);
    expect(await text(cache)).toBe("first");
  }
  // Once, and not three times: a peer is waiting.
  expect(service.requests).toHaveLength(1);
  expect(network.slept).toEqual([]);
  service.answers.set(PATH, answerWith(list("second", 100)));
  network.time = later(50 + 5 / 60);
  expect(await text(cache)).toBe("second");
});

test("a clock that went back does not make an answer fresh for longer", async () => {
  const { service, network, directory } = await setupWithKept("first", 100);
  service.answers.set(PATH, answerWith(list("second", 100)));
  network.time = later(-1000);
  expect(await text(testCache(service, network, directory).cache)).toBe("second");
});

test("an answer of another kind is refused and not kept", async () => {
  const { service, network, directory } = await setup();
  service.answers.set(PATH, answerWith("<html>\n"));
  const { cache } = testCache(service, network, directory);
  await expect(text(cache)).rejects.toEqual(refusal("malformed_endorsement"));
  service.answers.set(PATH, answerWith(list("first", 100)));
  network.time = later(1);
  expect(await text(cache)).toBe("first");
});

test("an answer that is not valid any more when it comes is refused", async () => {
  const { service, network } = await setup();
  service.answers.set(PATH, answerWith(list("old", 0)));
  await expect(text(testCache(service, network).cache)).rejects.toEqual(refusal("endorsement_expired"));
});

test.each<[string, (file: Buffer) => Buffer]>([
  ["is empty", () => Buffer.alloc(0)],
  ["is cut off", (file) => file.subarray(0, -1)],
  ["has bytes behind it", (file) => Buffer.concat([file, Buffer.of(0)])],
  ["has another body", (file) => Buffer.from(file.toString().replace("first", "worst"))],
  ["has other metadata", (file) => Buffer.from(file.toString().replace(/"freshFor":\d/, '"freshFor":9'))],
  ["has another digest", (file) => Buffer.concat([Buffer.alloc(64, "0"), file.subarray(64)])],
  ["is larger than any answer", (file) => Buffer.concat([file], 2 * 1024 * 1024)],
])("a cache file that %s is fetched anew", async (_, damage) => {
  const { service, network, directory } = await setupWithKept("first", 100);
  const path = join(directory, readdirSync(directory)[0] ?? "");
  writeFileSync(path, damage(readFileSync(path)));
  service.answers.set(PATH, answerWith(list("second", 100)));
  const { cache, warnings } = testCache(service, network, directory);
  expect(await text(cache)).toBe("second");
  expect(warnings).toEqual(["what was kept on disk can't be used"]);
  expect(await text(testCache(service, network, directory).cache)).toBe("second");
  expect(service.requests).toHaveLength(1);
});

test("a cache file under another's name is not taken for it", async () => {
  const { service, network, directory } = await setupWithKept("first", 100);
  const [kept = ""] = readdirSync(directory);
  const other = "vendor.example/other";
  service.answers.set(other, answerWith(list("other", 100)));
  const { cache } = testCache(service, network, directory);
  await cache.get(request(other));
  const name = readdirSync(directory).find((each) => each !== kept) ?? "";
  renameSync(join(directory, kept), join(directory, name));
  const { body } = await testCache(service, network, directory).cache.get(request(other));
  expect(body.toString()).toMatch(/^other /);
});

test("a directory that can't be written does not stop anything", async () => {
  const { service, network, directory } = await setup();
  writeFileSync(directory, "not a directory");
  service.answers.set(PATH, answerWith(list("first", 100)));
  const { cache, warnings } = testCache(service, network, directory);
  expect(await text(cache)).toBe("first");
  expect(warnings).toContain("an answer can't be kept on disk");
});

test("the files are bounded: the oldest go first, leftovers of a crash among them, and no one else's", async () => {
  const { service, network, directory } = await setupWithKept("first", 100);
  const [kept = ""] = readdirSync(directory);
  const leftover = `${kept}.0123456789ab.tmp`;
  for (const name of [leftover, "somebody-else's"]) writeFileSync(join(directory, name), "x");
  const { cache } = testCache(service, network, directory);
  expect(await text(cache)).toBe("first");
  const big = Buffer.concat([Buffer.alloc(1024 * 1024 - 64, "x"), Buffer.from(list("", 100))]);
  for (let index = 0; index < 16; index++) {
    const path = `vendor.example/${index}`;
    service.answers.set(path, answerWith(big));
    await cache.get(request(path));
  }
  const names = readdirSync(directory);
  expect(names).toContain("somebody-else's");
  expect(names).not.toContain(leftover);
  expect(names).not.toContain(kept);
  const total = names.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  expect(total).toBeLessThanOrEqual(16 * 1024 * 1024);
  // Memory has the same bound.
  service.requests.length = 0;
  service.answers.set(PATH, answerWith(list("second", 100)));
  expect(await text(cache)).toBe("second");
});
