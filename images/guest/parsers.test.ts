import fc from "fast-check";
import { expect, test } from "vitest";
import * as erofs from "./erofs/layout.ts";
import { GuestImageError } from "./error.ts";
import { layOut, makeMbr, readPartitions } from "./partitions.ts";
import { kernelVerityParams, parseKernelVerityParams } from "./verity.ts";

const SECTOR = 512;

function imageOf(bytes: Buffer, size = bytes.length): Parameters<typeof readPartitions>[0] {
  return { size, read: (start, length) => Promise.resolve(Buffer.from(bytes.subarray(start, start + length))) };
}

test("the table that is written is the one that is read", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 38 }), fc.integer({ min: 1, max: 2 ** 32 }), async (root, hash) => {
      const [first, second] = layOut(root, hash);
      expect(first.length).toBeGreaterThanOrEqual(root);
      const size = second.start + second.length;
      expect(await readPartitions(imageOf(makeMbr(first, second), size))).toEqual([first, second]);
      await expect(readPartitions(imageOf(makeMbr(first, second), size - 1))).rejects.toMatchObject({
        code: "image_cut",
      });
    }),
  );
});

test("no table makes anything but a refusal by name, or two partitions inside the image", async () => {
  const table = fc.uint8Array({ minLength: 3 * SECTOR, maxLength: 3 * SECTOR }).map((bytes) => {
    const image = Buffer.from(bytes);
    image.writeUInt16LE(0xaa55, 510);
    return image;
  });
  const kinds = fc.constantFrom<(image: Buffer) => void>(
    () => {},
    (image) => image.fill(0, 446 + 32, 510),
    (image) => {
      image[446 + 4] = 0xee;
      image.write("EFI PART\0\0\x01\0\x5c\0\0\0", SECTOR, "latin1");
    },
  );
  await fc.assert(
    fc.asyncProperty(table, kinds, fc.nat(2 ** 40), async (image, change, size) => {
      change(image);
      try {
        const [root, hash] = await readPartitions(imageOf(image, size));
        expect(root.start + root.length).toBeLessThanOrEqual(hash.start);
        expect(hash.start + hash.length).toBeLessThanOrEqual(size);
      } catch (error) {
        expect(error).toBeInstanceOf(GuestImageError);
      }
    }),
  );
});

const names = fc.uniqueArray(fc.stringMatching(/^[\w.-]{1,60}$/), { maxLength: 400 });

test("the entries of a folder come back sorted, however many blocks they take", () => {
  fc.assert(
    fc.property(names, (all) => {
      const entries = all.map((name, index) => ({ name: Buffer.from(name), inode: BigInt(index), type: 1 }));
      const contents = erofs.writeEntries(entries);
      const sorted = [...entries].sort((one, two) => Buffer.compare(one.name, two.name));
      expect(erofs.readEntries(contents, "/")).toEqual(sorted);
    }),
  );
});

test("no bytes of an erofs make anything but a refusal by name", () => {
  const readers: ((bytes: Buffer) => unknown)[] = [
    (bytes) => erofs.readEntries(bytes, "/"),
    (bytes) => new erofs.FolderInode(bytes.subarray(0, 64), "/").tail,
    (bytes) => {
      const block = Buffer.alloc(4096);
      bytes.copy(block, 1024);
      return erofs.readSuperblock(block);
    },
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 9000 }), fc.constantFrom(...readers), (bytes, read) => {
      try {
        read(Buffer.from(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(GuestImageError);
      }
    }),
  );
});

test("parameters of a hash tree are read as they are written, and others are refused", () => {
  const verity = { rootHash: "ab".repeat(32), salt: "cd".repeat(32), dataBlocks: 107_520 };
  const text = kernelVerityParams(verity);
  expect(parseKernelVerityParams(`${text}\n`)).toEqual(verity);
  const others = [
    "",
    "root_hash=ab",
    text.replace("4096", "512"),
    text.replace("=107520", "=0"),
    text.replace("ab", "xy"),
  ];
  for (const other of others) expect(() => parseKernelVerityParams(other)).toThrow(GuestImageError);
});
