import { expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { Secret } from "../../runtime/secret.ts";
import { type LatestInsecure, parseLatestInsecure, signLatest, verifyLatest } from "./pointer.ts";
import { SeedEngine } from "./seed.ts";

const { historyKey } = new SeedEngine(new Secret(Buffer.alloc(32, 0x11)), Buffer.alloc(32, 0x22));
const other = new SeedEngine(new Secret(Buffer.alloc(32, 0x12)), Buffer.alloc(32, 0x22)).historyKey;

/** What was written has to be read for ever. */
const VERSION_1 =
  "01b4b74a7d0c06fbcb84b8b6f63036efcc613e3a184fb1eb1d4510367df7acbf58d46f2ed4fffc7ccb8b92ddfafb4906a3d07ab354c908429f35fba26c52a4f1ac43f4c8d0cf88baabbf452f0fa190730f32e1c52bf7a7b135d421e4d8d7502757401bf67e9047d93df7bf3df92bbdbb8be9c87ca5833dd47b2bb00f94ce7cad5e";
const FIRST =
  "020000000000000001aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0000000000000000000000000000000000000000000000000000000000000000468ad6f38f7a79dd3334e33faf1d8956c3a3b2958879f51b3b9b3389834adadae97156dd54acf84c0ceb1ae02dd25b90743903d2349c3635466eecb161d9e97d0f6053849f928e8106534c6514bfb4865bdb05396de2aa5c4b49ffc76cd29f4b";
const SECOND =
  "020000000000000002ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddca3c287f07a76f86d9456bea3db4c55f2ce1d588407f86a27e2bb4631a27bb45c7274d11fad69d15cd13c3004a06cb0091d2e01fcb4e202f0f5933883ba241cd153b94c6bdb631f2f25f976818b119e07496439c824074c86aeed74de99c0e311c2d465ba18ed58dc22dbca88d1181d14ee2baa779eb50fe4ede8f63962b5c5e";
/** The first move after version 1. */
const AFTER_VERSION_1 =
  "020000000000000001b4b74a7d0c06fbcb84b8b6f63036efcc613e3a184fb1eb1d4510367df7acbf58dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd43831cd5c9d5da0c3edf9e50b53e0d007e52f81379fcfb15f02da6f7bdb6f0f3a404f0e4c338445ab800a5348f82967981b1345210a0b2af88eb095ece1b9de107d6fb9b92dd8b3dd71bc54ed9e29c624dc9366c7a86ea6a0f1053fb64d7153790e33288932efa02bf70a6ca97598c73c3905d9d4c55c1582051952c9a0d3643";

const read = (hex: string): LatestInsecure => parseLatestInsecure(Buffer.from(hex, "hex"), "latest");

test("a pointer of version 1 is read: it counts as number 0, and names no mesh CA and none before it", () => {
  const latest = verifyLatest(read(VERSION_1), historyKey.publicKey);
  expect(latest).toMatchObject({ sequence: 0, transition: VERSION_1.slice(2, 66) });
  expect([latest.meshKey, latest.previous]).toEqual([undefined, undefined]);
});

test("pointers that were written are read and verified, and each names the one before it", () => {
  const [first, second] = [FIRST, SECOND].map((hex) => verifyLatest(read(hex), historyKey.publicKey));
  expect(first).toMatchObject({ sequence: 1, transition: "aa".repeat(32), meshKey: "bb".repeat(32) });
  expect(first?.previous).toBeUndefined();
  expect(second).toMatchObject({ sequence: 2, transition: "cc".repeat(32), meshKey: "dd".repeat(32) });
  expect(second?.previous).toBe(first?.digest);
  const after = verifyLatest(read(AFTER_VERSION_1), historyKey.publicKey);
  expect(after).toMatchObject({
    sequence: 1,
    previous: read(VERSION_1).digest,
    transition: read(VERSION_1).transition,
  });
});

test("what is signed has the form that was recorded", () => {
  // ECDSA is random: what stands before the signature is the same, and the signature is verified.
  const same = (made: LatestInsecure, recorded: string): void => {
    expect(toHex(made.raw).slice(0, -192)).toBe(recorded.slice(0, -192));
    expect(made.raw).toHaveLength(recorded.length / 2);
    verifyLatest(made, historyKey.publicKey);
  };
  same(signLatest(undefined, { transition: "aa".repeat(32), meshKey: "bb".repeat(32) }, historyKey.privateKey), FIRST);
  const target = { transition: "cc".repeat(32), meshKey: "dd".repeat(32) };
  same(signLatest(read(FIRST), target, historyKey.privateKey), SECOND);
  const again = { transition: read(VERSION_1).transition, meshKey: "dd".repeat(32) };
  same(signLatest(read(VERSION_1), again, historyKey.privateKey), AFTER_VERSION_1);
});

test.each([
  ["1", VERSION_1],
  ["2", SECOND],
])("a pointer of version %s with any bit changed, and another seed's, are refused", (_version, hex) => {
  for (let bit = 0; bit < (hex.length / 2) * 8; bit++) {
    const raw = Buffer.from(hex, "hex");
    raw.writeUInt8(raw.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    expect(() => verifyLatest(parseLatestInsecure(raw, "latest"), historyKey.publicKey)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^(wrong_seed|damaged_state|unknown_state_version)$/) as string,
      }),
    );
  }
  expect(() => verifyLatest(read(hex), other.publicKey)).toThrow(expect.objectContaining({ code: "wrong_seed" }));
});

test("what a pointer says is taken from the bytes that are signed", () => {
  const lie = { ...read(SECOND), sequence: 9, transition: "ee".repeat(32), signature: read(FIRST).signature };
  expect(verifyLatest(lie, historyKey.publicKey)).toMatchObject({ sequence: 2, transition: "cc".repeat(32) });
});

const sequence = (hex: string, number: string): string => `02${number}${hex.slice(18)}`;

test.each([
  ["of version 0", `00${SECOND.slice(2)}`, "unknown_state_version", "latest"],
  ["of version 3", `03${SECOND.slice(2)}`, "unknown_state_version", "latest"],
  ["number 0", sequence(FIRST, "0".repeat(16)), "damaged_state", "latest, sequence"],
  ["number 2^53", sequence(SECOND, "0020000000000000"), "damaged_state", "latest, sequence"],
  ["number 2 that follows none", sequence(FIRST, "0000000000000002"), "damaged_state", "latest, previous pointer"],
  ["cut short", SECOND.slice(0, -2), "damaged_state", "latest, signature"],
  ["with a byte more", `${SECOND}00`, "damaged_state", "latest, pointer"],
])("a pointer %s is refused by its name", (_what, hex, code, where) => {
  expect(() => read(hex)).toThrow(expect.objectContaining({ code, where }));
});
