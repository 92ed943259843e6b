import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { untilLast } from "./test-life.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { apply, type Engine, isAllowed, type State } from "./test-opa.ts";
import { IMAGES, pinned, PODS, requestsFor, testPod } from "./test-pods.ts";
import { idOf } from "./test-mounts.ts";
import type { Request } from "./test-container.ts";

/** Containers that are almost the right ones. */

const DB = "probes, hooks and variables";
const JOB = "an init container, a native sidecar and an image's user";
const STORE = "volumes of all kinds";
const FREE = "image defaults";

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

if (NO_ENGINE !== undefined) test.skip(`a host that cheats is refused: ${NO_ENGINE}`);
else
  describe("a policy", () => {
    let engine: Engine;

    beforeAll(async () => {
      const { subject, spec } = testPod(DB);
      const policies = Object.entries(PODS).map(([name, pod]) => [name, policyOf(pod.subject, pod.spec, IMAGES)]);
      engine = await startEngine({
        ...Object.fromEntries(policies),
        "no digest": withoutDigests(),
        "no such image": policyOf(subject, spec, new Map()),
      });
    });
    afterAll(() => engine.stop());

    const allows = async (policy: string, request: Request, state: State = {}): Promise<boolean> =>
      isAllowed((await engine.ask([{ ...request, policy, state }]))[0]);

    test.each<[string, string, (request: Loose) => void]>([
      ["another image", DB, (request) => (request.storages[0].source = pinned("busybox"))],
      ["the image by its tag alone", DB, (request) => (request.storages[0].source = "postgres:16")],
      ["no image", DB, (request) => request.storages.splice(0, 1)],
      ["two images", DB, (request) => request.storages.push({ ...request.storages[0] })],
      ["an image somewhere else", DB, (request) => (request.storages[0].mount_point = "/usr")],
      [
        "an image that passes for the sandbox's",
        DB,
        (request) => metadata(request, "io.kubernetes.cri.container-type", "sandbox"),
      ],
      [
        "one that does so for another engine",
        DB,
        (request) => metadata(request, "io.kubernetes.cri-o.ContainerType", "sandbox"),
      ],
      [
        "a disk in place of memory",
        STORE,
        (request) => Object.assign(memory(request), { driver: "blk", source: "02/03", fstype: "ext4" }),
      ],
      [
        "a disk that is called memory",
        STORE,
        (request) => Object.assign(memory(request), { source: "/dev/vdb", fstype: "ext4" }),
      ],
      ["memory over a file of the VM", STORE, (request) => (memory(request).mount_point = "/etc")],
      [
        "a volume that is not made",
        STORE,
        (request) => request.storages.splice(request.storages.indexOf(memory(request)), 1),
      ],
      ["a folder of the host", DB, (request) => request.storages.push({ ...VIRTIOFS })],
      ["a disk that no claim is for", DB, (request) => request.storages.push({ ...DISK })],
      ["a variable twice", DB, (request) => request.OCI.Process.Env.push("LANG=en")],
      ["a variable twice, the same", DB, (request) => request.OCI.Process.Env.push("LANG=C")],
      ["a variable more", DB, (request) => request.OCI.Process.Env.push("LD_PRELOAD=/data/x.so")],
      ["a variable without a value", DB, (request) => request.OCI.Process.Env.push("LANG")],
      [
        "a service that is called like a program's option",
        DB,
        (request) => request.OCI.Process.Env.push("X_SERVICE_HOST=a b"),
      ],
      [
        "another argument where a variable is put in",
        DB,
        (request) => (request.OCI.Process.Args[2] = "listen_addresses=0.0.0.0"),
      ],
      [
        "a mount over the program",
        DB,
        (request) => request.OCI.Mounts.push({ ...request.OCI.Mounts[6], destination: "/usr" }),
      ],
      ["a mount at a place that is taken", DB, (request) => request.OCI.Mounts.push({ ...request.OCI.Mounts[6] })],
      ["a mount that hides another", STORE, (request) => request.OCI.Mounts.push(...request.OCI.Mounts.splice(1, 1))],
      [
        "a mount of another container's copy",
        DB,
        (request) =>
          (request.OCI.Mounts[6].source = request.OCI.Mounts[6].source.replace(request.container_id, idOf("other"))),
      ],
      [
        "a mount of another file's copy",
        DB,
        (request) => (request.OCI.Mounts[6].source = request.OCI.Mounts[8].source),
      ],
      [
        "a mount of a file beside nothing",
        DB,
        (request) => (request.OCI.Mounts[6].source = request.OCI.Mounts[6].source.replace(/^.*?-/, "")),
      ],
      [
        "a mount of a copy in another folder",
        DB,
        (request) => (request.OCI.Mounts[6].source = request.OCI.Mounts[6].source.replace("/shared/", "/shared/../")),
      ],
      ["a mount of the VM's root", DB, (request) => (request.OCI.Mounts[6].source = "/")],
      ["a mount by a detour", STORE, (request) => (mountAt(request, "/part").source += "/../..")],
      ["a volume of another name", STORE, (request) => (mountAt(request, "/scratch").source += "2")],
      ["a volume in the place of another pod's", STORE, (request) => (mountAt(request, "/scratch").source += "0")],
      [
        "a copy in place of the VM's own folder",
        STORE,
        (request) =>
          (mountAt(request, "/scratch").source = mountAt(request, "/secret").source.replace(/secret$/, "scratch")),
      ],
      [
        "a disk where a copy belongs",
        STORE,
        (request) => (mountAt(request, "/secret").source = mountAt(request, "/var/lib/postgresql/data").source),
      ],
      [
        "a hook",
        DB,
        (request) => (request.OCI.Hooks = { Prestart: [{ Path: "/bin/sh" }], Poststart: [], Poststop: [] }),
      ],
      [
        "seccomp that makes calls do nothing",
        DB,
        (request) => (request.OCI.Linux.Seccomp = { DefaultAction: "SCMP_ACT_ERRNO" }),
      ],
      ["a program's file out of its reach", DB, (request) => request.OCI.Linux.MaskedPaths.push("/etc/ssl")],
      ["one behind a detour", DB, (request) => request.OCI.Linux.ReadonlyPaths.push("/proc/../var/lib")],
      ["a namespace that is there", DB, (request) => (request.OCI.Linux.Namespaces[0].Path = "/proc/1/ns/ipc")],
      ["a network of its own", DB, (request) => request.OCI.Linux.Namespaces.push({ Type: "network", Path: "" })],
      ["the processes of the others", DB, (request) => (request.sandbox_pidns = true)],
      ["a device of the VM", DB, (request) => request.OCI.Linux.Devices.push({ Path: "/dev/sda", Type: "b" })],
      [
        "the right to devices",
        DB,
        (request) => request.OCI.Linux.Resources.Devices.push({ Allow: true, Access: "rwm" }),
      ],
      ["a disk that a program has decrypted", STORE, (request) => (disk(request).source = "/dev/dm-0")],
      ["a part of a disk", STORE, (request) => (disk(request).source = "/dev/vda1")],
      [
        "files that get another group than the pod's",
        STORE,
        (request) => (disk(request).fs_group = { group_id: 2001, group_change_policy: 0 }),
      ],
      [
        "files that get a group for more than that",
        STORE,
        (request) => (disk(request).fs_group = { group_id: 2000, group_change_policy: 0, unknown: "x" }),
      ],
      [
        "a disk that is encrypted by a key of the host's",
        STORE,
        (request) => (disk(request).driver_options = ["encryption_key=ephemeral"]),
      ],
      ["a disk that stays", STORE, (request) => (disk(request).shared = true)],
      ["memory in place of a disk", STORE, (request) => (request.devices[0].vm_path = "/dev/mem")],
      ["a device by its path", STORE, (request) => (request.devices[0].id = "/dev/sev-guest")],
      ["a device with options", STORE, (request) => (request.devices[0].options = ["x"])],
      [
        "the cgroup of another",
        DB,
        (request) =>
          (request.OCI.Linux.CgroupsPath = request.OCI.Linux.CgroupsPath.replace(request.container_id, idOf("other"))),
      ],
      ["a cgroup by a detour", DB, (request) => (request.OCI.Linux.CgroupsPath = `/../../x/${request.container_id}`)],
      ["a cgroup above others", DB, (request) => (request.OCI.Linux.CgroupsPath = "/kubepods")],
      ["no cgroup", DB, (request) => (request.OCI.Linux.CgroupsPath = "")],
      ["a device by an annotation", DB, (request) => (request.OCI.Annotations["cdi.k8s.io/gpu"] = "nvidia.com/gpu=0")],
      [
        "the name of another container",
        JOB,
        (request) => (request.OCI.Annotations["io.kubernetes.cri.container-name"] = "init"),
      ],
      [
        "the type of a sandbox",
        DB,
        (request) => (request.OCI.Annotations["io.kubernetes.cri.container-type"] = "sandbox"),
      ],
      [
        "the name of another workload's pod",
        DB,
        (request) => (request.OCI.Annotations["io.kubernetes.cri.sandbox-name"] = "dbs-5d78c9869d-79bfv"),
      ],
      [
        "the name of another pod of the workload",
        DB,
        (request) => (request.OCI.Annotations["io.kubernetes.cri.sandbox-name"] = "db-5d78c9869d-79bfw"),
      ],
      [
        "another namespace",
        DB,
        (request) => (request.OCI.Annotations["io.kubernetes.cri.sandbox-namespace"] = "other"),
      ],
      ["another sandbox", DB, (request) => (request.OCI.Annotations["io.kubernetes.cri.sandbox-id"] = idOf("other"))],
      ["an id that is a path", DB, (request) => (request.container_id = "../x")],
      ["streams that the host has", DB, (request) => (request.stdin_port = 1024)],
    ])("refuses a container with %s", async (_, policy, change) => {
      const { last, state } = await untilLast(engine, policy);
      const copy = structuredClone(last.create);
      expect(await allows(policy, copy, state)).toBe(true);
      change(copy.request);
      expect(await allows(policy, copy, state)).toBe(false);
    });

    test("the image goes by its full name, too, and by the options that newer agents leave out", async () => {
      const { last, state } = await untilLast(engine, DB);
      const digest = pinned("");
      for (const source of [`docker.io/library/postgres${digest}`, `docker.io/library/postgres:16${digest}`]) {
        const copy = structuredClone(last.create);
        copy.request.storages[0].source = source;
        copy.request.storages[0].driver_options = [];
        expect(await allows(DB, copy, state)).toBe(true);
      }
    });

    test.each<[string, (request: Loose) => void]>([
      ["another image", (request) => (request.storages[0].source = pinned("busybox"))],
      [
        "an image called pause, which an older agent would fetch",
        (request) => metadata(request, "io.kubernetes.cri.container-type", "container"),
      ],
      ["another program", (request) => (request.OCI.Process.Args = ["/bin/sh"])],
      ["the id of another", (request) => (request.OCI.Annotations["io.kubernetes.cri.sandbox-id"] = idOf("other"))],
      ["the name of a container", (request) => (request.OCI.Annotations["io.kubernetes.cri.container-name"] = "db")],
    ])("refuses a sandbox with %s", async (_, change) => {
      const { all, sandboxContainer } = requestsFor(DB);
      const [answer] = await engine.ask([{ ...all.sandbox, policy: DB }]);
      const state = apply({}, answer);
      const copy = structuredClone(sandboxContainer.create);
      expect(await allows(DB, copy, state)).toBe(true);
      change(copy.request);
      expect(await allows(DB, copy, state)).toBe(false);
    });

    test("a disk's files get the group of the pod", async () => {
      const { last, state } = await untilLast(engine, STORE);
      const copy = structuredClone(last.create);
      disk(copy.request).fs_group = { group_id: 2000, group_change_policy: "OnRootMismatch" };
      expect(await allows(STORE, copy, state)).toBe(true);
    });

    test("a cgroup is where either of the drivers has it", async () => {
      const { last, state } = await untilLast(engine, DB);
      for (const path of [`/kubepods/burstable/podx/${last.id}`, `kubepods-podx.slice:cri-containerd:${last.id}`]) {
        const copy = structuredClone(last.create);
        copy.request.OCI.Linux.CgroupsPath = path;
        expect(await allows(DB, copy, state)).toBe(true);
      }
    });

    test.each(["", "a b", "-a", "a-", "A", "a.b", "a/b", "$(id)", "x".repeat(64), "a\n"])(
      "refuses the namespace %j, where the resource states none",
      async (namespace) => {
        const { all, sandboxContainer } = requestsFor(FREE);
        const [answer] = await engine.ask([{ ...all.sandbox, policy: FREE }]);
        const copy = structuredClone(sandboxContainer.create);
        copy.request.OCI.Annotations["io.kubernetes.cri.sandbox-namespace"] = "team-1";
        expect(await allows(FREE, copy, apply({}, answer))).toBe(true);
        copy.request.OCI.Annotations["io.kubernetes.cri.sandbox-namespace"] = namespace;
        expect(await allows(FREE, copy, apply({}, answer))).toBe(false);
      },
    );

    test("refuses containers of an image without a digest", async () => {
      const { last, state } = await untilLast(engine, DB);
      const copy = structuredClone(last.create);
      expect(await allows("no digest", copy, state)).toBe(false);
      copy.request.storages[0].source = "postgres:16";
      expect(await allows("no digest", copy, state)).toBe(false);
    });

    test("takes what is not known about an image for empty", async () => {
      const { last, state } = await untilLast(engine, DB);
      expect(await allows("no such image", last.create, state)).toBe(false);
    });
  });

const DISK = {
  driver: "blk",
  driver_options: [],
  source: "02/04",
  fstype: "ext4",
  options: [],
  mount_point: "/run/kata-containers/sandbox/storage/MDIvMDQ=",
  fs_group: null,
};
const VIRTIOFS = {
  ...DISK,
  driver: "virtio-fs",
  source: "kataShared",
  fstype: "virtiofs",
  mount_point: "/run/kata-containers/shared/containers/",
};

function withoutDigests(): string {
  const { subject, spec } = structuredClone(testPod(DB));
  const withoutDigest = (reference: string): string => reference.replace(/@.*/, "");
  for (const container of spec.containers) container.image = withoutDigest(container.image);
  return policyOf(subject, spec, new Map([...IMAGES].map(([name, image]) => [withoutDigest(name), image])));
}

function metadata(request: Loose, key: string, value: string): void {
  const [option] = request.storages[0].driver_options;
  const volume = JSON.parse(option.replace("image_guest_pull=", ""));
  volume.metadata[key] = value;
  request.storages[0].driver_options = [`image_guest_pull=${JSON.stringify(volume)}`];
}

function memory(request: Loose): Loose {
  return request.storages.find(({ driver }: Loose) => driver === "ephemeral");
}

/** That of a claim. */
function disk(request: Loose): Loose {
  return request.storages.find((storage: Loose) => storage.driver === "blk" && storage.driver_options.length === 0);
}

function mountAt(request: Loose, destination: string): Loose {
  return request.OCI.Mounts.find((mount: Loose) => mount.destination === destination);
}
