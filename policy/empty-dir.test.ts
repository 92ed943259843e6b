import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type PodSpec, podTemplateSchema } from "../kubernetes/pod-spec.ts";
import { policyOf } from "./policy.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { apply, type Engine, isAllowed, type State } from "./test-opa.ts";
import { clusterFor, IMAGES, pinned } from "./test-pods.ts";
import { encryptedDisk, idOf } from "./test-mounts.ts";
import { type PodRequests, podRequests } from "./test-requests.ts";

/** Where the volumes of a pod are that nobody else should read: the forms in which the runtimes ask for an emptyDir. */

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

const SUBJECT = { kind: "Pod", name: "a", namespace: "shop" };
const MOUNTS = [
  { name: "cache", mountPath: "/cache" },
  { name: "other", mountPath: "/other" },
  { name: "disk", mountPath: "/disk" },
];
const { spec: SPEC } = podTemplateSchema.parse({
  spec: {
    runtimeClassName: "contrast-cc",
    containers: ["first", "second"].map((name) => ({ name, image: pinned("nginx:1.25"), volumeMounts: MOUNTS })),
    volumes: [
      { name: "cache", emptyDir: {} },
      { name: "other", emptyDir: {} },
      { name: "disk", persistentVolumeClaim: { claimName: "disk" } },
    ],
  },
});
const COPIES = "/run/kata-containers/shared/containers";

if (NO_ENGINE !== undefined) test.skip(`an emptyDir is in the VM: ${NO_ENGINE}`);
else
  describe("an emptyDir that is not in memory", () => {
    let engine: Engine;

    beforeAll(async () => {
      engine = await startEngine({
        pod: policyOf(SUBJECT, SPEC, IMAGES),
        owned: policyOf(SUBJECT, withGroup(), IMAGES),
      });
    });
    afterAll(() => engine.stop());

    /** Whether the first container is made as it was changed, and then the second one. */
    async function made(
      change: (request: Loose) => void,
      then: (request: Loose) => void = () => {},
      policy = "pod",
    ): Promise<boolean[]> {
      const requests = podRequests(policy === "pod" ? SPEC : withGroup(), IMAGES, clusterFor(SUBJECT));
      const answers: boolean[] = [];
      let state: State = {};
      for (const { kind, request } of stepsOf(requests, change, then)) {
        const [answer] = await engine.ask([{ kind, request, policy, state }]);
        answers.push(isAllowed(answer));
        state = apply(state, answer);
      }
      expect(answers.slice(0, 2)).toEqual([true, true]);
      return answers.slice(2);
    }

    test("is a disk that the VM encrypts, the same one for every container", async () => {
      expect(await made(() => {})).toEqual([true, true]);
      expect(await made((request) => (cache(request).driver = "scsi"))).toEqual([true, true]);
      expect(
        await made(
          () => {},
          () => {},
          "owned",
        ),
      ).toEqual([true, true]);
    });

    test.each(["local", "rootfs/local", "passthrough"])("may be a folder of the VM's own, in %s", async (where) => {
      const folder =
        where === "passthrough"
          ? `${COPIES}/passthrough/${idOf("a/sandbox")}/rootfs/local`
          : `${COPIES}/${idOf("a/sandbox")}/${where}`;
      const local = (request: Loose): void => inFolder(request, `${folder}/cache`);
      expect(await made(local, local)).toEqual([true, true]);
    });

    test.each<[string, (request: Loose) => void]>([
      ["without a key", (request) => (cache(request).driver_options = ["create_filesystem"])],
      ["with a file system that is there", (request) => (cache(request).driver_options = ["encryption_key=ephemeral"])],
      ["without both", (request) => (cache(request).driver_options = [])],
      ["with a key that somebody knows", (request) => (cache(request).driver_options[0] = "encryption_key=kbs:///a")],
      ["with a second key", (request) => cache(request).driver_options.push("encryption_key=kbs:///a")],
      ["with another file system", (request) => (cache(request).fstype = "xfs")],
      ["in another driver's words", (request) => (cache(request).driver = "nvdimm")],
      ["from a path of the VM", (request) => (cache(request).source = "/dev/mapper/x")],
      ["with options", (request) => (cache(request).options = ["discard"])],
      ["that is of one container alone", (request) => (cache(request).shared = false)],
      ["at another place", (request) => (cache(request).mount_point += "x")],
      ["for a group that the pod has not", (request) => (cache(request).fs_group = { group_id: 5 })],
      ["shared with another emptyDir", (request) => (mountOf(request, "/other").source = cache(request).mount_point)],
      ["shared with a claim", (request) => (mountOf(request, "/disk").source = cache(request).mount_point)],
      ["that the host copied", (request) => copied(request, `${COPIES}/sandbox-0123456789abcdef-cache`)],
      [
        "copied for the container",
        (request) => copied(request, `${COPIES}/${request.container_id}-0123456789abcdef-cache`),
      ],
      ["of a folder in another pod's place", (request) => inFolder(request, `${COPIES}/${idOf("b")}/local/cache`)],
      ["of a folder that leads out", (request) => inFolder(request, `${COPIES}/${idOf("a/sandbox")}/local/../cache`)],
      [
        "of memory that it is not",
        (request) => {
          inFolder(request, "/run/kata-containers/sandbox/ephemeral/cache");
          Object.assign(request.storages.at(-1), { driver: "ephemeral", source: "tmpfs", fstype: "tmpfs" });
        },
      ],
      ["shared by virtio-fs", (request) => Object.assign(cache(request), { driver: "virtio-fs", fstype: "virtiofs" })],
      ["that nobody makes", (request) => request.storages.splice(request.storages.indexOf(cache(request)), 1)],
    ])("is no disk %s", async (_, change) => {
      expect((await made(change))[0]).toBe(false);
    });

    test("is not a disk that the host has written, though it was mounted there before", async () => {
      // The agent mounts the first one, and takes the second request for the same.
      const swap = (request: Loose): void => {
        const [claim, own] = [mountOf(request, "/disk").source, cache(request).mount_point];
        const source = request.storages.find((storage: Loose) => storage.mount_point === claim).source;
        request.storages.splice(request.storages.indexOf(cache(request)), 1, encryptedDisk(source, null));
        expect(request.storages.some((storage: Loose) => storage.mount_point === own)).toBe(false);
        mountOf(request, "/cache").source = claim;
        const other = encryptedDisk("04/00", null);
        const plain = request.storages.find((storage: Loose) => storage.driver_options.length === 0);
        Object.assign(plain, { source: other.source, mount_point: other.mount_point });
        mountOf(request, "/disk").source = other.mount_point;
      };
      expect(await made(() => {}, swap)).toEqual([true, false]);
    });

    test("is not the disk of another one, and not another disk for another container", async () => {
      const exchange = (request: Loose): void => {
        const [first, second] = [mountOf(request, "/cache"), mountOf(request, "/other")];
        [first.source, second.source] = [second.source, first.source];
      };
      const move = (request: Loose): void => {
        Object.assign(cache(request), encryptedDisk("05/00", null));
        mountOf(request, "/cache").source = encryptedDisk("05/00", null).mount_point;
      };
      expect(await made(exchange, exchange)).toEqual([true, true]);
      expect(await made(() => {}, exchange)).toEqual([true, false]);
      expect(await made(() => {}, move)).toEqual([true, false]);
    });
  });

function withGroup(): PodSpec {
  return { ...SPEC, securityContext: { fsGroup: 2000 } };
}

function stepsOf(
  { sandbox, containers }: PodRequests,
  change: (request: Loose) => void,
  then: (request: Loose) => void,
) {
  const [own, first, second] = structuredClone(containers.map(({ create }) => create));
  change(first?.request);
  then(second?.request);
  return [sandbox, own, first, second].filter((step) => step !== undefined);
}

function mountOf(request: Loose, destination: string): Loose {
  return request.OCI.Mounts.find((mount: Loose) => mount.destination === destination);
}

/** The storage of the volume `cache`. */
function cache(request: Loose): Loose {
  const { source } = mountOf(request, "/cache");
  return request.storages.find((storage: Loose) => storage.mount_point === source);
}

function inFolder(request: Loose, folder: string): void {
  request.storages.splice(request.storages.indexOf(cache(request)), 1);
  const local = { driver: "local", source: "local", fstype: "local", options: ["mode=0777"], driver_options: [] };
  request.storages.push({ ...local, mount_point: folder, fs_group: null, shared: false });
  Object.assign(mountOf(request, "/cache"), { source: folder, type_: "local" });
}

function copied(request: Loose, path: string): void {
  request.storages.splice(request.storages.indexOf(cache(request)), 1);
  mountOf(request, "/cache").source = path;
}
