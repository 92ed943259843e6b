import { generateKeyPairSync, randomBytes, verify } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AMD_SEV, makeFirmware, makeKernel, type SnpSectionSpec } from "../test-firmware.ts";
import { parseSnpFirmware } from "./firmware.ts";
import { idKeyDigest, signIdBlock } from "./id-block.ts";
import { measureSnp } from "./measure.ts";
import { askOracle, NO_ORACLE, type OracleCase, oracleIdBlock, oracleVcpuTypes } from "./test-oracle.ts";
import { VCPU_SIGNATURES, type VcpuType } from "./vcpu-types.ts";

/** Ours beside `sev-snp-measure`, on files that these tests make, and on the firmware of Debian's package ovmf. */

const OVMF = "/usr/share/OVMF/OVMF_CODE.fd";
const NO_OVMF = existsSync(OVMF) ? "" : ": there is no OVMF; Debian's package ovmf has it";

function ours(given: OracleCase): string | undefined {
  const { firmware, kernel, initrd, commandLine = "", vcpus, vcpu, features } = given;
  const signature = typeof vcpu === "number" ? vcpu : VCPU_SIGNATURES[vcpu as VcpuType];
  const boot = kernel && { kernel, initrd, commandLine };
  return measureSnp(parseSnpFirmware(firmware), boot, { signature, features }, [vcpus]).get(vcpus)?.toString("hex");
}

function expectSame(cases: readonly OracleCase[]): void {
  const theirs = askOracle(cases);
  expect(theirs).toHaveLength(cases.length);
  expect(cases.map(ours)).toEqual(theirs);
  expect(new Set(theirs).size).toBe(new Set(cases).size);
}

const title = `measurements are those of sev-snp-measure${NO_ORACLE === undefined ? "" : `: ${NO_ORACLE}`}`;

describe.skipIf(NO_ORACLE !== undefined)(title, () => {
  const plain: OracleCase = { firmware: makeFirmware(), vcpus: 1, vcpu: "EPYC-v4", features: 1n };
  const boot = { kernel: makeKernel(), initrd: randomBytes(5000), commandLine: "panic=1 agent.log=info" };

  test("the models of vCPUs are the same", () => {
    expect(VCPU_SIGNATURES).toEqual(oracleVcpuTypes());
  });

  test("for every model of vCPUs, and for signatures that no model has", () => {
    // Versions of one model have one measurement.
    const signatures = [...new Set([...Object.values(VCPU_SIGNATURES), 0x00a0_0f99, 0xffff_ffff, 0])];
    expectSame(signatures.map((vcpu) => ({ ...plain, ...boot, vcpus: 2, vcpu })));
    const byName = Object.keys(VCPU_SIGNATURES).map((vcpu) => ({ ...plain, vcpu }));
    expect(byName.map(ours)).toEqual(askOracle(byName));
  });

  test("for 1 to 64 vCPUs, and many", () => {
    const counts = [...Array.from({ length: 64 }, (_, index) => index + 1), 255, 1024];
    expectSame(counts.map((vcpus) => ({ ...plain, ...boot, vcpus })));
  });

  test("for features of guests, up to all bits", () => {
    expectSame([0n, 1n, 0x21n, 0x8001n, 2n ** 64n - 1n].map((features) => ({ ...plain, features })));
  });

  test("without an initrd, without a command line, with both", () => {
    const { kernel, initrd, commandLine } = boot;
    const commandLines = [
      "",
      " ",
      "a=b ",
      'dm-mod.create="dm-verity,,,ro,0 736328 verity 1 /dev/vda1"',
      "ä=ß",
      "x".repeat(2047),
      "x".repeat(5000),
    ];
    expectSame([
      plain,
      { ...plain, kernel, commandLine },
      { ...plain, kernel, initrd, commandLine },
      ...commandLines.map((text) => ({ ...plain, kernel, initrd, commandLine: text })),
    ]);
  });

  test("for whatever firmware, files and vCPUs", () => {
    const section = fc.record({ pages: fc.integer({ min: 1, max: 20 }), type: fc.constantFrom(1, 4) });
    const firmware = fc.record({
      pages: fc.integer({ min: 1, max: 40 }),
      fill: fc.nat(255),
      memory: fc.array(section, { maxLength: 5 }),
      order: fc.nat(5),
      offset: fc.integer({ min: 0, max: 4096 - 176 }),
      resetVector: fc.integer({ min: 1, max: 0xffff_ffff }),
    });
    const cases = fc.sample(
      fc.record({
        firmware: firmware.map(({ pages, fill, memory, order, offset, resetVector }) => {
          let at = 0x80_0000;
          const placed: SnpSectionSpec[] = memory.map(({ pages: count, type }) => {
            const address = at;
            at += (count + 1) * 4096;
            return { address, size: count * 4096, type };
          });
          const single = [2, 3, 16].map((type, index) => ({ address: at + index * 4096, size: 4096, type }));
          placed.splice(Math.min(order, placed.length), 0, ...single);
          const hashTable = at + 2 * 4096 + offset;
          return makeFirmware({ size: pages * 4096, fill, snp: placed, hashTable, resetVector });
        }),
        // QEMU measures any file that it is given as a kernel.
        kernel: fc.option(
          fc.oneof(
            fc.nat(255).map((fill) => makeKernel({ fill })),
            fc.uint8Array({ minLength: 1, maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
          ),
          { nil: undefined },
        ),
        initrd: fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
        commandLine: fc.string({ minLength: 1, unit: "grapheme-ascii", maxLength: 200 }),
        vcpus: fc.integer({ min: 1, max: 9 }),
        vcpu: fc.constantFrom(...Object.keys(VCPU_SIGNATURES)),
        features: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      }),
      { numRuns: 150, seed: 1 },
    );
    const whole = cases.map(({ kernel, initrd, commandLine, ...others }) =>
      kernel === undefined ? others : { ...others, kernel, initrd, commandLine },
    );
    expect(whole.map(ours)).toEqual(askOracle(whole));
  });

  test.skipIf(NO_OVMF !== "")(`of Debian's firmware, without a kernel${NO_OVMF}`, () => {
    const firmware = readFileSync(OVMF);
    const cases = [1, 2, 8].flatMap((vcpus) =>
      ["EPYC-v4", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"].map((vcpu) => ({ ...plain, firmware, vcpus, vcpu })),
    );
    expectSame(cases);
  });

  test("ID blocks have the same bytes but for the signatures, which verify", () => {
    const folder = mkdtempSync(join(tmpdir(), "measure-test-"));
    const [id, author] = [1, 2].map(() => generateKeyPairSync("ec", { namedCurve: "P-384" }));
    if (id === undefined || author === undefined) throw new Error("no keys");
    const paths = { id: join(folder, "id.pem"), author: join(folder, "author.pem") };
    writeFileSync(paths.id, id.privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(paths.author, author.privateKey.export({ type: "pkcs8", format: "pem" }));
    const measurement = randomBytes(48);
    const theirs = oracleIdBlock(measurement, paths);
    rmSync(folder, { recursive: true });

    const fields = {
      measurement,
      familyId: Buffer.alloc(16),
      imageId: Buffer.alloc(16),
      guestSvn: 0,
      policy: 0x30000n,
    };
    const { block, auth } = signIdBlock(fields, id.privateKey, author.privateKey);
    expect(block).toEqual(theirs.block);
    expect(withoutSignatures(auth)).toEqual(withoutSignatures(theirs.auth));
    expect(auth).not.toEqual(theirs.auth);
    expect(idKeyDigest(id.privateKey, "id")).toEqual(theirs.idKeyDigest);
    expect(idKeyDigest(author.publicKey, "author")).toEqual(theirs.authorKeyDigest);
    for (const each of [auth, theirs.auth]) {
      expect(verify("sha384", block, { key: id.publicKey, dsaEncoding: "ieee-p1363" }, signatureAt(each, 0x40))).toBe(
        true,
      );
      const key = each.subarray(0x240, 0x240 + 0x404);
      expect(
        verify("sha384", key, { key: author.publicKey, dsaEncoding: "ieee-p1363" }, signatureAt(each, 0x680)),
      ).toBe(true);
    }
  });
});

function withoutSignatures(auth: Buffer): Buffer {
  return Buffer.from(auth).fill(0, 0x40, 0x240).fill(0, 0x680, 0x880);
}

/** R and S, little-endian, 72 bytes each. */
function signatureAt(auth: Buffer, offset: number): Buffer {
  const part = (start: number): Buffer => Buffer.from(auth.subarray(start, start + 48)).reverse();
  return Buffer.concat([part(offset), part(offset + 72)]);
}

test("the firmware that the tests make has what the build for AmdSev has", () => {
  const { sections, hashTable, resetVector } = parseSnpFirmware(makeFirmware());
  expect(sections.map(({ kind }) => kind)).toEqual(["memory", "memory", "secrets", "cpuid", "kernel-hashes", "memory"]);
  expect([hashTable, resetVector]).toEqual([AMD_SEV.hashTable, AMD_SEV.resetVector]);
});
