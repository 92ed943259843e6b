import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { pino } from "pino";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { ChannelError, RemoteError } from "../channel/error.ts";
import { type Authority, createAuthority, issueChain } from "../coordinator/state/authority.ts";
import { overlap, type PreviousMesh, settleMs, trustedAt } from "../coordinator/state/overlap.ts";
import { manifestOf } from "../coordinator/test-deployment.ts";
import { type Manifest, parseManifest } from "../manifest/manifest.ts";
import { generateEcKey, type KeyPair, privateKeyPem } from "../pki/keys.ts";
import { trustDigest } from "../pki/trust-digest.ts";
import type { InForce } from "./enroll.ts";
import { type Issued, Keeper } from "./keeper.ts";
import { publish, type PublishedFile } from "./publish.ts";
import { asFiles, healthcheck, readPublished } from "./published.ts";
import { RenewalError } from "./same-deployment.ts";

/** The keeper beside what a Coordinator decides and issues, with two clocks that tests move, and real files. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const START = Date.parse("2026-06-01T12:00:00Z");

const WINDOW = parseManifest(manifestOf({ meshCaOverlap: "1h", certificateLifetime: "24h" }));
const NO_WINDOW = parseManifest(manifestOf({ certificateLifetime: "24h" }));

class World {
  /** Milliseconds since the start, by the wall clock of the pod, of all others, and by the pod's monotonic clock. */
  podClock = 0;
  time = 0;
  monotonic = 0;
  /** What the Coordinator answers with instead. */
  away: Error | undefined;
  /** Questions to it are answered with something made up, about one of the two. */
  lies: keyof InForce | undefined;
  /** The annex in force has one secret, whose value is its text. */
  annex = "";
  enrolled = 0;
  asked = 0;
  publishes: Error | undefined;
  readonly lines: { readonly level: number; readonly code?: string; readonly msg: string }[] = [];
  readonly directory: string;
  readonly rootKey: KeyPair;
  #manifest: Manifest = WINDOW;
  #authority: Authority;
  #previous: readonly PreviousMesh[] = [];
  #began = new Date(START);

  private constructor(directory: string, rootKey: KeyPair, authority: Authority) {
    this.directory = directory;
    this.rootKey = rootKey;
    this.#authority = authority;
  }

  static async make(): Promise<World> {
    const directory = await mkdtemp(join(tmpdir(), "keeper-test-"));
    onTestFinished(async () => rm(directory, { recursive: true }));
    const rootKey = await generateEcKey("P-384");
    return new World(directory, rootKey, await authorityOf(rootKey, 1, new Date(START)));
  }

  get now(): Date {
    return new Date(START + this.time);
  }

  async set(manifest = WINDOW, revoke = false): Promise<void> {
    const before = { manifest: this.#manifest, authority: this.#authority, previousMeshes: this.#previous };
    this.#previous = overlap(before, manifest, revoke, this.now).previousMeshes;
    this.#authority = await authorityOf(this.rootKey, before.authority.generation.number + 1, this.now);
    this.#manifest = manifest;
    this.#began = this.now;
  }

  async enroll(): Promise<Issued> {
    this.enrolled++;
    if (this.away !== undefined) throw this.away;
    const keys = await generateEcKey("P-256");
    const leaf = { publicKey: keys.publicKey, names: [{ kind: "dns", value: "web" }], extensions: new Map() } as const;
    const certChain = issueChain(this.#authority, leaf, this.now);
    const previous = trustedAt(this.#previous, this.now).map(({ ca }) => ca);
    const { meshCa, rootCa } = this.#authority;
    const { annex } = this;
    const content = Buffer.from(annex);
    return {
      certChain,
      meshCa,
      previous,
      annex,
      secrets: annex === "" ? [] : [`db@${annex}`],
      settleMs: settleMs({ previousMeshes: this.#previous, began: this.#began }, this.now),
      files: (trusted) => [
        { name: "certChain.pem", content: certChain, mode: 0o444 },
        { name: "key.pem", content: privateKeyPem(keys.privateKey), mode: 0o400 },
        { name: "mesh-ca.pem", content: [meshCa, ...trusted].join(""), mode: 0o444 },
        { name: "coordinator-root-ca.pem", content: rootCa, mode: 0o444 },
        ...(annex === "" ? [] : [{ name: "secrets/db", content, mode: 0o400 }]),
      ],
      forget: () => void content.fill(0),
    };
  }

  async askInForce(): Promise<InForce> {
    this.asked++;
    if (this.away !== undefined) throw this.away;
    const { meshCa } = this.#authority;
    const trust = trustDigest([meshCa, ...trustedAt(this.#previous, this.now).map(({ ca }) => ca)]);
    return {
      trust: this.lies === "trust" ? Buffer.alloc(32, this.asked) : trust,
      annex: this.lies === "annex" ? `${this.asked}` : this.annex,
    };
  }

  keeper(files: readonly PublishedFile[], issued?: Issued): Keeper {
    const log = pino(
      new Writable({
        write: (chunk: Buffer, _, done) => {
          this.lines.push(JSON.parse(String(chunk)) as World["lines"][number]);
          done();
        },
      }),
    );
    return new Keeper(
      {
        enroll: () => this.enroll(),
        askInForce: () => this.askInForce(),
        publish: async (set) => {
          if (this.publishes !== undefined) throw this.publishes;
          await publish(this.directory, set);
        },
        now: () => ({ wall: new Date(START + this.podClock), monotonic: this.monotonic }),
        random: () => 0.5,
        log,
      },
      files,
      issued,
    );
  }

  /** As the Initializer starts: with a certificate, published. */
  async start(): Promise<Keeper> {
    const issued = await this.enroll();
    const files = issued.files(issued.previous);
    await publish(this.directory, files);
    return this.keeper(files, issued);
  }

  pass(ms: number): void {
    this.time += ms;
    this.podClock += ms;
    this.monotonic += ms;
  }

  /** Turns as often as the keeper says, for so long. */
  async run(keeper: Keeper, ms: number): Promise<void> {
    const end = this.monotonic + ms;
    for (;;) {
      const wait = await keeper.turn();
      if (this.monotonic + wait > end) break;
      this.pass(wait);
    }
    this.pass(end - this.monotonic);
    await keeper.turn();
  }

  async file(name: string): Promise<string> {
    return readFile(join(this.directory, name), "utf8");
  }

  /** The number of the generation of the certificate that the pod shows, and of those that it trusts, as the file has them. */
  async state(): Promise<string> {
    const number = (pem: string | undefined): string =>
      String(new X509Certificate(pem ?? "").publicKey.export({ format: "jwk" })["x"]);
    const [, intermediate] = blocks(await this.file("certChain.pem"));
    const trusted = blocks(await this.file("mesh-ca.pem")).map(number);
    return [number(intermediate), ...trusted].map((key) => names.get(key) ?? "?").join(" ");
  }
}

/** Generation by its mesh key. */
const names = new Map<string, string>();
beforeEach(() => names.clear());

async function authorityOf(rootKey: KeyPair, number: number, at: Date): Promise<Authority> {
  const meshKey = await generateEcKey("P-256");
  names.set(String(meshKey.publicKey.export({ format: "jwk" })["x"]), `${number}`);
  const generation = { number, manifest: "ab".repeat(32) };
  return createAuthority({ rootKey, meshKey, generation, certificateLifetimeMs: 24 * HOUR }, at);
}

function blocks(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
}

const unreachable = new ChannelError("unreachable", "nobody there");

test("a certificate is renewed after two thirds of its lifetime, and costs nothing but questions before", async () => {
  const world = await World.make();
  const keeper = await world.start();
  const chain = await world.file("certChain.pem");
  await world.run(keeper, 14 * HOUR);
  expect(world.enrolled).toBe(1);
  expect(await world.file("certChain.pem")).toBe(chain);
  await world.run(keeper, 2 * HOUR);
  expect(world.enrolled).toBe(2);
  expect(await world.file("certChain.pem")).not.toBe(chain);
  // One every ten seconds.
  expect(world.asked).toBeGreaterThan(5000);
  expect(world.asked).toBeLessThan(7000);
});

test("after a set with a window the pod trusts both at once, changes when all others do, and forgets the one before", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.run(keeper, MINUTE);
  await world.set();
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("1 2 1");
  await world.run(keeper, 20 * SECOND);
  expect(await world.state()).toBe("2 2 1");
  expect(world.enrolled).toBe(2);
  await world.run(keeper, HOUR - MINUTE);
  expect(await world.state()).toBe("2 2 1");
  await world.run(keeper, MINUTE);
  expect(await world.state()).toBe("2 2");
  // The end of the window costs the Coordinator nothing.
  expect(world.enrolled).toBe(2);
});

test.each([
  ["without a window", NO_WINDOW, false],
  ["that revokes", WINDOW, true],
])("after a set %s the pod changes at once, and trusts nothing of before", async (_, manifest, revoke) => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set(manifest, revoke);
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("2 2");
});

test("two sets in a row within one window: each change has its time, and no mesh CA is forgotten too early", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set();
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("1 2 1");
  await world.set();
  await world.run(keeper, 14 * SECOND);
  // Not the second one: others know neither of them for sure.
  expect(await world.state()).toBe("1 3 2 1");
  await world.run(keeper, 20 * SECOND);
  expect(await world.state()).toBe("3 3 2 1");
  await world.run(keeper, HOUR - 30 * SECOND);
  expect(await world.state()).toBe("3 3");
});

test("a set that revokes within a window takes back at once what the window gave", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set();
  await world.run(keeper, 15 * SECOND);
  await world.set(WINDOW, true);
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("3 3");
});

test("a set during a renewal: the answer of before is renewed again", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.run(keeper, 14 * HOUR);
  const enroll = world.enroll.bind(world);
  world.enroll = async () => {
    const issued = await enroll();
    world.enroll = enroll;
    await world.set();
    return issued;
  };
  await world.run(keeper, 3 * HOUR);
  expect(await world.state()).toBe("2 2");
  expect(world.enrolled).toBe(3);
});

test("while the Coordinator is away all stays as it is, also over the end, which is said once and loudly", async () => {
  const world = await World.make();
  const keeper = await world.start();
  world.away = unreachable;
  await world.run(keeper, 25 * HOUR);
  expect(await world.state()).toBe("1 1");
  const loud = world.lines.filter(({ level }) => level >= 50);
  expect(loud).toMatchObject([
    { code: "certificate_expired", until: expect.stringContaining("2026-06-02T11:5") as string },
  ]);
  // One line when it can't be asked, one when a renewal fails.
  expect(world.lines.filter(({ code }) => code === "unreachable")).toHaveLength(2);
  expect((await healthcheck(world.directory, new Date(START + world.podClock))).isGood).toBe(false);
  // Nine hours, once a minute at most.
  expect(world.enrolled).toBeLessThan(10 * 60 * 2);
  world.away = undefined;
  await world.run(keeper, 2 * MINUTE);
  expect((await healthcheck(world.directory, new Date(START + world.podClock))).isGood).toBe(true);
});

test("the window ends while the Coordinator is away, also where the host sets the clock back", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set();
  await world.run(keeper, MINUTE);
  expect(await world.state()).toBe("2 2 1");
  world.away = unreachable;
  world.podClock -= 24 * HOUR;
  await world.run(keeper, HOUR);
  expect(await world.state()).toBe("2 2");
});

test("a clock that jumps ahead renews at once, and not again and again", async () => {
  const world = await World.make();
  const keeper = await world.start();
  world.podClock += 48 * HOUR;
  await world.run(keeper, 10 * MINUTE);
  // By its clock each new one has expired, too: once a minute.
  expect(world.enrolled).toBeGreaterThan(5);
  expect(world.enrolled).toBeLessThan(15);
  world.podClock -= 48 * HOUR;
  await world.run(keeper, 2 * MINUTE);
  const { enrolled } = world;
  await world.run(keeper, 10 * HOUR);
  expect(world.enrolled).toBe(enrolled);
});

test("a clock that is set back does not put off a renewal", async () => {
  const world = await World.make();
  const keeper = await world.start();
  world.podClock -= 12 * HOUR;
  await world.run(keeper, 17 * HOUR);
  expect(world.enrolled).toBe(2);
});

test.each(["trust", "annex"] as const)("made-up answers about %s cost the Coordinator less and less", async (lies) => {
  const world = await World.make();
  world.annex = "1";
  const keeper = await world.start();
  world.lies = lies;
  await world.run(keeper, 4 * HOUR);
  expect(world.enrolled).toBeGreaterThan(5);
  expect(world.enrolled).toBeLessThan(40);
  world.lies = undefined;
  await world.run(keeper, HOUR);
  world.annex = "2";
  await world.run(keeper, 15 * SECOND);
  expect(await world.file("secrets/db")).toBe("2");
  await world.set(NO_WINDOW);
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("2 2");
});

test.each([
  ["refuses the pod for good", new RemoteError("policy_not_allowed", "not listed", false, {})],
  ["is another one", new RenewalError("another_deployment", "another root CA")],
])("where the Coordinator %s, it is said loudly, nothing changes, and it is tried again", async (_, away) => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set(NO_WINDOW);
  world.askInForce = async () => ({ trust: Buffer.alloc(32), annex: "" });
  world.away = away;
  await world.run(keeper, 10 * MINUTE);
  expect(await world.state()).toBe("1 1");
  expect(world.lines.filter(({ level }) => level >= 50)).toMatchObject([{ code: away.code }]);
  expect(world.enrolled).toBeLessThan(25);
  world.away = undefined;
  await world.run(keeper, 2 * MINUTE);
  expect(await world.state()).toBe("2 2");
});

test("another annex brings other secrets within seconds, costs one enrolment, and leaves the mesh CA as it is", async () => {
  const world = await World.make();
  const keeper = await world.start();
  expect(await readdir(world.directory)).not.toContain("secrets");
  world.annex = "1";
  await world.run(keeper, 15 * SECOND);
  expect(await world.file("secrets/db")).toBe("1");
  expect(world.enrolled).toBe(2);
  world.annex = "2";
  await world.run(keeper, 15 * SECOND);
  expect(await world.file("secrets/db")).toBe("2");
  expect(world.lines.at(-1)).toMatchObject({ msg: "certificates renewed", secrets: ["db@2"] });
  expect(await world.state()).toBe("1 1");
  // Removed: the file is gone, and so is the folder.
  world.annex = "";
  await world.run(keeper, 15 * SECOND);
  expect(await readdir(world.directory)).not.toContain("secrets");
  await world.run(keeper, HOUR);
  expect(world.enrolled).toBe(4);
});

test("a secret that changes while a new mesh CA settles is there at once, with the certificate of before", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set();
  world.annex = "1";
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("1 2 1");
  expect(await world.file("secrets/db")).toBe("1");
  world.annex = "2";
  await world.run(keeper, 14 * SECOND);
  expect(await world.file("secrets/db")).toBe("2");
  await world.run(keeper, 30 * SECOND);
  expect(await world.state()).toBe("2 2 1");
});

test("files that can't be written are tried again; until then the set before is whole", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set();
  world.publishes = new Error("ENOSPC: no space left on device");
  await world.run(keeper, 40 * SECOND);
  expect(await world.state()).toBe("1 1");
  expect(world.lines.filter(({ level }) => level >= 50)).toHaveLength(1);
  world.publishes = undefined;
  await world.run(keeper, 2 * MINUTE);
  expect(await world.state()).toBe("2 2 1");
});

test("a window ends on time although the change to the new certificate could not be written", async () => {
  const world = await World.make();
  const keeper = await world.start();
  await world.set();
  await world.run(keeper, 15 * SECOND);
  expect(await world.state()).toBe("1 2 1");
  world.publishes = new Error("ENOSPC: no space left on device");
  await world.run(keeper, HOUR);
  world.publishes = undefined;
  await world.run(keeper, 2 * MINUTE);
  expect(await world.state()).toBe("2 2");
});

test("a container that starts again goes on from the files, and renews them at once", async () => {
  const world = await World.make();
  await world.start();
  await world.set();
  // Killed while it published: half a set, and a link that was not moved.
  await writeFile(join(world.directory, "..certChain.pem.tmp"), "half");
  const published = await readPublished(world.directory);
  const keeper = world.keeper(asFiles(published ?? expect.unreachable(), 0o400));
  world.pass(5 * SECOND);
  await world.run(keeper, SECOND);
  expect(await world.state()).toBe("1 2 1");
  await world.run(keeper, 30 * SECOND);
  expect(await world.state()).toBe("2 2 1");
});

test("without certificates the health check says so", async () => {
  const world = await World.make();
  expect(await readPublished(world.directory)).toBeUndefined();
  expect(await healthcheck(world.directory, world.now)).toEqual({
    isGood: false,
    text: "there are no certificates yet",
  });
  await world.start();
  expect(await healthcheck(world.directory, world.now)).toMatchObject({ isGood: true });
});
