import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { imageNames } from "./image-names.ts";
import { policyOf } from "./policy.ts";
import { untilLast } from "./test-life.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { type Engine, isAllowed } from "./test-opa.ts";
import { IMAGES, pinned, testPod } from "./test-pods.ts";

/**
 * What a runtime calls the image of a container. containerd writes the name into an annotation, and Kata's shims take it
 * from there into the source of the storage that the guest pulls. containerd before 2.0 takes the first of the names under
 * which a node knows the image, and names with tags come first.
 */

const DB = "probes, hooks and variables";
const ANNOTATION = "io.kubernetes.cri.image-name";
const DIGEST = pinned("").slice(1);
const OTHER = `sha256:${"f".repeat(64)}`;

test("an image has the names by which containerd may know it, all with its digest", () => {
  expect(imageNames(`postgres:16@${DIGEST}`)).toEqual([
    `postgres:16@${DIGEST}`,
    `docker.io/library/postgres@${DIGEST}`,
    `docker.io/library/postgres:16@${DIGEST}`,
  ]);
  expect(imageNames(`docker.io/library/postgres@${DIGEST}`)).toEqual([`docker.io/library/postgres@${DIGEST}`]);
  expect(imageNames("postgres:16")).toEqual([]);
});

/** Names of the image of the pod, `postgres:16@sha256:…`. */
const NAMES: readonly [string, string, boolean][] = [
  ["tag and digest, as the resource has them", `postgres:16@${DIGEST}`, true],
  ["tag and digest, in full", `docker.io/library/postgres:16@${DIGEST}`, true],
  ["the digest alone", `docker.io/library/postgres@${DIGEST}`, true],
  ["the tag alone", "docker.io/library/postgres:16", false],
  ["the tag alone, as people write it", "postgres:16", false],
  ["no tag and no digest", "docker.io/library/postgres", false],
  ["another image's name, with this digest", `docker.io/library/busybox@${DIGEST}`, false],
  ["another image's name and tag", "docker.io/library/busybox:1", false],
  ["another registry's name, with this digest", `registry.example.com/library/postgres@${DIGEST}`, false],
  ["the digest of another image", `docker.io/library/postgres@${OTHER}`, false],
  ["both digests", `docker.io/library/postgres@${OTHER}@${DIGEST}`, false],
  ["the id of the image on the node", DIGEST, false],
];

if (NO_ENGINE !== undefined) test.skip(`what a runtime calls the image: ${NO_ENGINE}`);
else
  describe("a policy", () => {
    let engine: Engine;

    beforeAll(async () => {
      const { subject, spec } = testPod(DB);
      engine = await startEngine({ [DB]: policyOf(subject, spec, IMAGES) });
    });
    afterAll(() => engine.stop());

    /** @param source what the guest pulls; `annotation` is what the host calls it elsewhere */
    const allows = async (source: string, annotation: string): Promise<boolean> => {
      const { last, state } = await untilLast(engine, DB);
      const { request, ...rest } = structuredClone(last.create);
      const [storage] = request.storages;
      const [option] = storage.driver_options as readonly string[];
      const volume = JSON.parse(option?.replace("image_guest_pull=", "") ?? "") as { metadata: Record<string, string> };
      expect([storage.source, request.OCI.Annotations[ANNOTATION], volume.metadata[ANNOTATION]]).toEqual(
        Array.from({ length: 3 }, () => pinned("postgres:16")),
      );
      storage.source = source;
      request.OCI.Annotations[ANNOTATION] = annotation;
      volume.metadata[ANNOTATION] = annotation;
      storage.driver_options = [`image_guest_pull=${JSON.stringify(volume)}`];
      return isAllowed((await engine.ask([{ ...rest, request, policy: DB, state }]))[0]);
    };

    test.each(NAMES)("of an image by %s", async (_, name, isRight) => {
      expect(await allows(name, name)).toBe(isRight);
    });

    test.each(NAMES)("does not believe an annotation with %s", async (_, name, isRight) => {
      const right = pinned("postgres:16");
      // What the guest pulls is right: the host may call it what it likes, but a digest is this one.
      expect(await allows(right, name)).toBe(isRight || !name.includes("@"));
      // What the guest pulls is another, and the annotation says that it is the right one.
      expect(await allows(name, right)).toBe(isRight);
    });
  });
