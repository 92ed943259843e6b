import { expect, test } from "vitest";
import { architecture } from "./architecture.ts";
import { IMAGES, type Image } from "./catalog.ts";
import { NODE_VERSION } from "./node-release.ts";
import { type Bill, bill } from "./sbom.ts";

const image = IMAGES[0] as Image;
const libc = { name: "libc6", version: "2.36-9+deb12u13" };
const scoped = { name: "@grpc/grpc-js", version: "1.14.7", license: "Apache-2.0" };
const zod = { name: "zod", version: "4.6.7", license: "MIT" };

const amd64 = (debian: readonly (typeof libc)[], npm: readonly (typeof zod)[]): Bill =>
  bill(image, architecture("amd64"), { debian, npm });
const purls = ({ components }: Bill): string[] => (components as { purl: string }[]).map(({ purl }) => purl);

test("package URLs encode what stands for something else in them", () => {
  const epoch = { name: "libstdc++6", version: "1:12.2.0-14~rc+dfsg" };
  expect(purls(amd64([epoch], [scoped]))).toEqual([
    "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14~rc%2Bdfsg?arch=amd64&distro=debian-12",
    `pkg:github/nodejs/node@v${NODE_VERSION}`,
    "pkg:npm/%40grpc/grpc-js@1.14.7",
  ]);
});

test("a package that came by two ways is listed once, and every reference is another", () => {
  const twice = amd64([libc, { ...libc }], [zod, scoped, zod]);
  expect(twice).toEqual(amd64([libc], [scoped, zod]));
  expect(new Set(purls(twice)).size).toBe(4);
  const [dependencies] = twice["dependencies"] as [{ dependsOn: string[] }];
  expect(dependencies.dependsOn).toEqual(purls(twice));
});

test("the crates of the native engine are there with their checksums, and Rust's library, but none of this repository", () => {
  const folder = "/nowhere";
  const ring = { name: "ring", version: "0.17.14", license: "Apache-2.0 AND ISC", checksum: "a4".repeat(32) };
  const crates = [
    { ...ring, authors: [], folder },
    { name: "engine-core", version: "0.1.0", license: "Apache-2.0", checksum: undefined, authors: [], folder },
  ];
  const engine = { crates, rust: "1.96.0" };
  const contents = bill(image, architecture("amd64"), { debian: [], npm: [], engine });
  expect(contents["components"]).toMatchObject([
    {
      purl: "pkg:cargo/ring@0.17.14",
      licenses: [{ expression: ring.license }],
      hashes: [{ alg: "SHA-256", content: ring.checksum }],
    },
    { name: "node" },
    { purl: "pkg:github/rust-lang/rust@1.96.0" },
  ]);
});

test("the serial number is a UUID that comes from the contents", () => {
  const serial = (it: Bill): unknown => it["serialNumber"];
  expect(serial(amd64([libc], [zod]))).toMatch(
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  expect(serial(amd64([libc], [zod]))).toBe(serial(amd64([libc], [zod])));
  expect(serial(amd64([libc], [scoped]))).not.toBe(serial(amd64([libc], [zod])));
  expect(serial(bill(image, architecture("arm64"), { debian: [libc], npm: [zod] }))).not.toBe(
    serial(amd64([libc], [zod])),
  );
});
