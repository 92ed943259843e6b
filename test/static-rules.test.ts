import { chmod, copyFile, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { asRoot, Network, NO_PODS, type Pod, WITHOUT_NF_TABLES } from "./netns/pods.ts";
import type { Program } from "./programs.ts";

/** What the Initializer leaves behind in a pod with an ingress configuration, and what a host can do about it. */

const APP = 8080;
const UNLISTED = 8081;
const OPEN = 9090;
const ADMIN = 9102;
const DATAGRAMS = 5353;
const INGRESS = {
  CONTRAST_INGRESS_PROXY_CONFIG: `metrics#${OPEN}#true##web#8443#false`,
  CONTRAST_ADMIN_PORT: `${ADMIN}`,
  CONTRAST_LOG_FORMAT: "json",
};
const PRIVILEGED = asRoot("+net_admin,+net_raw");
const DENY = "INPUT -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP".split(" ");
const BACKENDS = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];
const FAMILIES = ["ipv4", "ipv6"] as const;

let folder: string;

if (NO_PODS !== undefined) test.skip(`static rules: ${NO_PODS}`);

describe.runIf(NO_PODS === undefined)("static rules", { timeout: 120_000 }, () => {
  beforeAll(async () => {
    const mesh = await createMesh();
    folder = await writeTlsConfig(mesh, await mesh.issue());
    await chmod(folder, 0o755);
  });

  afterAll(async () => rm(folder, { recursive: true }));

  async function pods(options?: { ipv6: boolean }): Promise<{ server: Pod; client: Pod }> {
    const network = await Network.create();
    return { server: await network.addPod(options), client: await network.addPod() };
  }

  /** @returns how it ended */
  async function closePorts(
    pod: Pod,
    environment: Record<string, string> = {},
    within: readonly string[] = PRIVILEGED,
  ): Promise<Program> {
    const initializer = pod.start(["initializer/main.ts", "static-rules"], { ...INGRESS, ...environment }, within);
    await initializer.exited;
    return initializer;
  }

  async function startApplication(pod: Pod, port: number, host = "::"): Promise<Program> {
    const application = pod.start(["test/netns/application.ts", host, `${port}`]);
    await application.line("listening");
    return application;
  }

  /** An application at every port of TCP here, and one for datagrams of each family. */
  async function startApplications(pod: Pod): Promise<Program[]> {
    const started = [APP, UNLISTED, OPEN].map(async (port) => startApplication(pod, port));
    for (const family of FAMILIES) {
      const application = pod.start(["test/netns/udp-application.ts", pod[family], `${DATAGRAMS}`]);
      started.push(application.line("listening").then(() => application));
    }
    return Promise.all(started);
  }

  const beginProxy = (pod: Pod, within: readonly string[], environment: Record<string, string> = {}): Program =>
    pod.start(["mesh-proxy/main.ts"], { ...INGRESS, CONTRAST_TLS_CONFIG_DIR: folder, ...environment }, within);

  async function startProxy(pod: Pod, within: readonly string[] = PRIVILEGED): Promise<Program> {
    const proxy = beginProxy(pod, within);
    await proxy.line("ready");
    return proxy;
  }

  async function kill(program: Program): Promise<void> {
    program.child.kill("SIGKILL");
    await program.exited;
  }

  /** What a client in a pod gets there, by `tcp:HOST:PORT` or `udp:HOST:PORT`. */
  async function reach(client: Pod, ...places: string[]): Promise<Record<string, string>> {
    const asked = client.start(["test/netns/reach.ts", ...places]);
    await asked.exited;
    return JSON.parse(asked.stdout()) as Record<string, string>;
  }

  /** Whatever there is in a pod, by both families. */
  const placesOf = (pod: Pod): string[] =>
    FAMILIES.flatMap((family) => [
      ...[APP, UNLISTED, OPEN].map((port) => `tcp:${pod[family]}:${port}`),
      `udp:${pod[family]}:${DATAGRAMS}`,
    ]);

  const same = (places: readonly string[], answer: string): Record<string, string> =>
    Object.fromEntries(places.map((place) => [place, answer]));

  const openOf = (pod: Pod): string[] => FAMILIES.map((family) => `tcp:${pod[family]}:${OPEN}`);
  /** What a stranger gets, without a certificate, where there is no proxy. */
  const closedOf = (pod: Pod): Record<string, string> => ({
    ...same(placesOf(pod), "silence"),
    ...same(openOf(pod), "hello"),
  });
  const reached = async (client: Pod, server: Pod): Promise<Record<string, string>> =>
    reach(client, ...placesOf(server));

  const clients = (applications: readonly Program[]): string[] =>
    applications.flatMap(({ log }) =>
      log.filter(({ msg }) => msg === "client").map(({ address }) => String(address).replace("::ffff:", "")),
    );

  /** How many connections to a port a process of the pod has taken from the kernel. */
  const accepted = (pod: Pod, port: number): number =>
    pod
      .run("ss", "-tnpH", "state", "established", "sport", "=", `:${port}`)
      .split("\n")
      .filter((line) => line.includes("users:")).length;

  const rules = (pod: Pod, backends = BACKENDS): string[] => backends.map((backend) => pod.run(backend, "-S"));

  async function directory(): Promise<string> {
    const made = await mkdtemp(join(tmpdir(), "static-rules-"));
    onTestFinished(async () => rm(made, { recursive: true }));
    await chmod(made, 0o755);
    return made;
  }

  /** A folder with the programs of one backend, for a pod that has no others. */
  async function onlyBackend(pod: Pod, backend: string, names = ["iptables", "ip6tables"]): Promise<string> {
    const folder = await directory();
    await copyFile(`/usr/sbin/xtables-${backend}-multi`, join(folder, "multi"));
    for (const name of names) {
      await symlink("multi", join(folder, name));
      await symlink("multi", join(folder, `${name}-restore`));
    }
    pod.run("mount", "-t", "tmpfs", "none", "/usr/sbin");
    return `${folder}:/usr/bin`;
  }

  /** A search path where each backend's `ip6tables-restore` is a script, in which `$real` is what it stands for. */
  async function fakeRestore(script: string, list = ""): Promise<string> {
    const folder = await directory();
    for (const suffix of ["", "-nft", "-legacy"]) {
      const real = `/usr/sbin/ip6tables${suffix === "" ? "-nft" : suffix}`;
      const files = {
        [`ip6tables${suffix}`]: `[ "$1" = --version ] && exec ${real} "$@"\n${list === "" ? `exec ${real} "$@"` : list}`,
        [`ip6tables${suffix}-restore`]: `real=${real}-restore\n${script}`,
      };
      for (const [name, text] of Object.entries(files)) {
        await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
      }
    }
    return `${folder}:${process.env["PATH"] ?? ""}`;
  }

  const fatal = ({ log }: Program): unknown => log.filter(({ level }) => level === "fatal").map(({ msg }) => msg);

  test("before them everybody gets in", async () => {
    const { server, client } = await pods();
    await startApplications(server);
    expect(await reached(client, server)).toEqual(same(placesOf(server), "hello"));
  });

  test("with them, and a proxy that was never started, nobody gets in but by a #true port", async () => {
    const { server, client } = await pods();
    expect((await closePorts(server)).child.exitCode).toBe(0);
    const applications = await startApplications(server);
    expect(await reached(client, server)).toEqual(closedOf(server));
    expect(new Set(clients(applications))).toEqual(new Set([client.ipv4, client.ipv6]));
  });

  test("the pod itself goes on: loopback, what it asks others, and its neighbours", async () => {
    const { server, client } = await pods();
    await closePorts(server);
    await Promise.all([startApplications(server), startApplications(client)]);
    for (const pod of [server, client]) pod.run("ip", "neighbour", "flush", "all");
    const places = [...placesOf(server), `tcp:127.0.0.1:${APP}`, `tcp:::1:${APP}`];
    expect(await reach(server, ...places, ...placesOf(client))).toEqual(
      same([...places, ...placesOf(client)], "hello"),
    );
    // The other way round it is the client who looks for its neighbour.
    client.run("ip", "neighbour", "flush", "all");
    expect(await reach(client, ...openOf(server))).toEqual(same(openOf(server), "hello"));
  });

  test("a proxy that is killed leaves no way in, and a new one is the way again", async () => {
    const { server, client } = await pods();
    await closePorts(server);
    const applications = await startApplications(server);
    const mutual = async (): Promise<string[]> =>
      Promise.all(FAMILIES.map(async (family) => client.call(server[family], APP, "mutual", folder)));
    const proxy = await startProxy(server);
    expect(await mutual()).toEqual(["hello", "hello"]);
    const resets = FAMILIES.flatMap((family) => [APP, UNLISTED].map((port) => `tcp:${server[family]}:${port}`));
    expect(await reached(client, server)).toEqual({ ...closedOf(server), ...same(resets, "ECONNRESET") });
    await kill(proxy);
    expect(await mutual()).toEqual(["silence", "silence"]);
    expect(await reached(client, server)).toEqual(closedOf(server));
    await startProxy(server);
    expect(await mutual()).toEqual(["hello", "hello"]);
    // The client itself came to the open port alone, twice.
    expect(clients(applications).filter((address) => [client.ipv4, client.ipv6].includes(address))).toHaveLength(4);
  });

  test("a connection of the killed proxy's is no way to the application", async () => {
    const { server, client } = await pods();
    await closePorts(server);
    const application = await startApplication(server, APP);
    const proxy = await startProxy(server);
    // The kernel ends them for the proxy, and keeps sockets in TIME_WAIT, which are transparent: TPROXY marks a SYN for
    // them, and the kernel hands it to the application's listener. TPROXY drops what comes after it.
    const strangers = FAMILIES.map((family) =>
      client.start(["test/netns/reconnect.ts", server[family], `${APP}`, "40404"]),
    );
    await Promise.all(strangers.map(async (stranger) => stranger.line("open")));
    // The kernel resets those that the proxy has not accepted yet, and keeps nothing of them.
    await expect.poll(() => accepted(server, APP), { timeout: 10_000 }).toBe(strangers.length);
    await kill(proxy);
    await Promise.all(strangers.map(async ({ exited }) => exited));
    expect(strangers.map(({ stdout }) => stdout())).toEqual(["silence", "silence"]);
    expect(clients([application])).toEqual([]);
  });

  test("a proxy that starts and is killed again and again lets nobody past", async () => {
    const { server, client } = await pods();
    await closePorts(server);
    const application = await startApplication(server, APP);
    const hammers = FAMILIES.map((family) => client.start(["test/netns/hammer.ts", server[family], `${APP}`]));
    await Promise.all(hammers.map(async (hammer) => hammer.line("begins")));
    for (let round = 0; round < 4; round++) {
      const proxy = await startProxy(server);
      for (const family of FAMILIES) expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
      await kill(proxy);
    }
    for (const hammer of hammers) {
      hammer.child.kill("SIGTERM");
      await hammer.exited;
      const { tries, answers } = JSON.parse(hammer.stdout()) as { tries: number; answers: number };
      expect(answers).toBe(0);
      expect(tries).toBeGreaterThan(20);
    }
    expect(new Set(clients([application]))).toEqual(new Set([server.ipv4, server.ipv6]));
  });

  test("a stranger whom the pod called in vain can't call back as if that were the answer", async () => {
    const { server, client } = await pods();
    await closePorts(server);
    // The kernel remembers the call for two minutes, with the pod as the one who began.
    client.run("iptables-nft", ..."-I INPUT -p tcp --syn --dport 7000 -j DROP".split(" "));
    const call = `tcp:${client.ipv4}:7000@40404`;
    expect(await reach(server, call)).toEqual({ [call]: "silence" });
    const application = await startApplication(server, 40_404);
    const back = `tcp:${server.ipv4}:40404@7000`;
    expect(await reach(client, back)).toEqual({ [back]: "silence" });
    // It is the proxy's like every other call.
    await startProxy(server);
    expect(await reach(client, back)).toEqual({ [back]: "ECONNRESET" });
    expect(clients([application])).toEqual([]);
  });

  test("a mark does not come from outside, and an interface's name lets nobody in", async () => {
    const { server, client } = await pods();
    await closePorts(server);
    await startApplications(server);
    for (const backend of ["iptables-nft", "ip6tables-nft"]) {
      client.run(backend, ..."-t mangle -A OUTPUT -j MARK --set-mark 0x15006".split(" "));
    }
    server.run("ip", "link", "set", "eth0", "down");
    server.run("ip", "link", "set", "eth0", "name", "lo0", "up");
    server.run("ip", "address", "add", `${server.ipv6}/64`, "dev", "lo0", "nodad");
    expect(await reached(client, server)).toEqual(closedOf(server));
  });

  test("a pod is nobody's way: what is not for it is not led on", async () => {
    const network = await Network.create();
    const [server, client, inner] = [await network.addPod(), await network.addPod(), await network.addPod()];
    const place = `tcp:10.99.0.1:${APP}`;
    inner.run("ip", "address", "add", "10.99.0.1/32", "dev", "lo");
    await startApplication(inner, APP, "10.99.0.1");
    server.run("sh", "-c", "for one in all eth0; do echo 0 > /proc/sys/net/ipv4/conf/$one/send_redirects; done");
    server.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
    server.run("ip", "route", "add", "10.99.0.1", "via", inner.ipv4);
    client.run("ip", "route", "add", "10.99.0.1", "via", server.ipv4);
    expect(await reach(client, place)).toEqual({ [place]: "hello" });
    await closePorts(server);
    expect(await reach(client, place)).toEqual({ [place]: "silence" });
    await startProxy(server);
    expect(await reach(client, place)).toEqual({ [place]: "silence" });
  });

  test("a second time changes nothing, and puts behind the rules what was put before them", async () => {
    const { server, client } = await pods();
    // The legacy backend has its tables from when it is first asked for them.
    rules(server);
    await closePorts(server);
    const closed = rules(server);
    expect((await closePorts(server)).child.exitCode).toBe(0);
    expect(rules(server)).toEqual(closed);
    await startApplications(server);
    for (const backend of BACKENDS) {
      server.run(backend, "-I", "INPUT", "-j", "ACCEPT");
      server.run(backend, "-I", "CONTRAST_INPUT", "-j", "ACCEPT");
    }
    expect(await reached(client, server)).toEqual(same(placesOf(server), "hello"));
    // And somebody was reached meanwhile.
    expect(fatal(await closePorts(server))).toEqual([expect.stringMatching(/^reached_before: /)]);
    expect(rules(server)).toEqual(
      closed.map((text) => text.replace(/(?<=-A INPUT -j CONTRAST_INPUT\n)/, "-A INPUT -j ACCEPT\n")),
    );
    expect(await reached(client, server)).toEqual(closedOf(server));
  });

  test("the nft backend alone will do, with NET_ADMIN, where the legacy one has no tables", async () => {
    const { server, client } = await pods();
    const path = await onlyBackend(server, "nft");
    const initializer = await closePorts(server, { PATH: path }, asRoot());
    expect(initializer.child.exitCode).toBe(0);
    expect(JSON.stringify(initializer.log)).not.toContain("ermission");
    expect(server.run("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")).toBe("");
    await startApplications(server);
    expect(await reached(client, server)).toEqual(closedOf(server));
    const proxy = beginProxy(server, asRoot(), { PATH: path });
    await proxy.line("ready");
    expect(JSON.stringify(proxy.log)).not.toContain("ermission");
    for (const family of FAMILIES) expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
  });

  test("on a kernel without nf_tables the legacy backend will do, with NET_RAW", async () => {
    const { server, client } = await pods();
    expect(fatal(await closePorts(server, {}, [...WITHOUT_NF_TABLES, ...asRoot()]))).toEqual([
      expect.stringMatching(/^iptables_failed: .*iptables-legacy.*; grant NET_ADMIN, and NET_RAW/),
    ]);
    expect((await closePorts(server, {}, [...WITHOUT_NF_TABLES, ...PRIVILEGED])).child.exitCode).toBe(0);
    expect(rules(server, ["iptables-nft", "ip6tables-nft"]).join()).not.toContain("CONTRAST");
    await startApplications(server);
    expect(await reached(client, server)).toEqual(closedOf(server));
    await startProxy(server, [...WITHOUT_NF_TABLES, ...PRIVILEGED]);
    expect(server.run("iptables-legacy", "-t", "mangle", "-S")).toContain("TPROXY");
    for (const family of FAMILIES) expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
  });

  describe("what can't be looked at does not count as not there", () => {
    test.each([
      ["iptables-legacy", "ipv4"],
      ["ip6tables-legacy", "ipv6"],
    ] as const)("a default deny by %s, without NET_RAW", async (backend, family) => {
      const { server, client } = await pods();
      await startApplications(server);
      server.run(backend, "-I", ...DENY);
      const failure = new RegExp(
        `^iptables_failed: .*at ${backend}, .*Permission denied.*; grant NET_ADMIN, and NET_RAW`,
      );
      const proxy = beginProxy(server, asRoot());
      expect(await proxy.exited).toBe(1);
      expect(proxy.log.map(({ msg }) => msg)).toEqual([expect.stringMatching(failure)]);
      // It has closed what it could.
      const closed = server.run(backend.replace("legacy", "nft"), "-S");
      expect(closed).toContain("-A INPUT -j CONTRAST_INPUT");
      expect(fatal(await closePorts(server, {}, asRoot()))).toEqual([expect.stringMatching(failure)]);
      const lift = server.start(
        ["initializer/main.ts", "lift-default-deny"],
        { CONTRAST_LOG_FORMAT: "json" },
        asRoot(),
      );
      expect(await lift.exited).toBe(1);
      expect(lift.log.map(({ msg }) => msg)).toEqual([expect.stringMatching(failure)]);
      await startProxy(server);
      expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
    });

    test.each([
      ["legacy", /^iptables_missing: can't filter IPv4 .*want iptables-nft .*with its backend nft/],
      ["nft", /^iptables_missing: can't filter IPv4 .*want iptables-legacy .*with its backend legacy/],
    ])("a default deny, where the image has %s alone and the guest may have used the other", async (kind, failure) => {
      const { server } = await pods();
      for (const backend of BACKENDS) server.run(backend, "-I", ...DENY);
      const path = await onlyBackend(server, kind);
      expect(fatal(await closePorts(server, { PATH: path }))).toEqual([expect.stringMatching(failure)]);
      const proxy = beginProxy(server, PRIVILEGED, { PATH: path });
      expect(await proxy.exited).toBe(1);
      expect(fatal(proxy)).toEqual([expect.stringMatching(failure)]);
      const lift = server.start(["initializer/main.ts", "lift-default-deny"], { PATH: path }, PRIVILEGED);
      expect(await lift.exited).toBe(1);
    });

    test("a table that iptables can't read, as nft makes them", async () => {
      const { server } = await pods();
      const refusal = "echo 'ip6tables: table `filter'\\'' is incompatible, use '\\''nft'\\'' tool.' >&2; exit 1";
      const path = await fakeRestore('exec "$real" "$@"', refusal);
      const failure = expect.stringMatching(/^iptables_failed: .*at ip6tables, got .*is incompatible/) as unknown;
      expect(fatal(await closePorts(server, { PATH: path }))).toEqual([failure]);
      const lift = server.start(
        ["initializer/main.ts", "lift-default-deny"],
        { PATH: path, CONTRAST_LOG_FORMAT: "json" },
        PRIVILEGED,
      );
      expect(await lift.exited).toBe(1);
      expect(fatal(lift)).toEqual([failure]);
    });
  });

  test.each(["nft", "legacy"])(
    "a guest's default deny by %s stays, and keeps out nobody who may get in",
    async (kind) => {
      const { server, client } = await pods();
      const backends = BACKENDS.filter((name) => name.endsWith(kind));
      for (const backend of backends) server.run(backend, "-I", ...DENY);
      expect((await closePorts(server)).child.exitCode).toBe(0);
      await startApplications(server);
      await startProxy(server);
      for (const family of FAMILIES) expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
      const places = [...openOf(server), `tcp:127.0.0.1:${APP}`, `tcp:::1:${APP}`];
      expect(await reach(client, ...openOf(server))).toEqual(same(openOf(server), "hello"));
      expect(await reach(server, ...places)).toEqual(same(places, "hello"));
      expect(client.run("curl", "-s", `http://[${server.ipv6}]:${ADMIN}/readyz`)).toBe("ready\n");
      for (const backend of backends) expect(server.run(backend, "-C", ...DENY)).toBe("");
    },
  );

  describe("where a family can't be filtered", () => {
    test("for lack of its program, it does not end well, and the other family is closed", async () => {
      const { server, client } = await pods();
      const path = await onlyBackend(server, "nft", ["iptables"]);
      const initializer = await closePorts(server, { PATH: path });
      expect(initializer.child.exitCode).toBe(1);
      expect(fatal(initializer)).toEqual([
        expect.stringMatching(/^iptables_missing: can't filter IPv6 .*; install ip6tables/),
      ]);
      await startApplications(server);
      const answers = await reached(client, server);
      expect(answers).toMatchObject({
        [`tcp:${server.ipv4}:${APP}`]: "silence",
        [`udp:${server.ipv4}:${DATAGRAMS}`]: "silence",
      });
    });

    test("because the kernel refuses, it does not end well", async () => {
      const { server } = await pods();
      const refusal = "echo 'can not initialize ip6tables table filter' >&2; exit 3";
      const initializer = await closePorts(server, { PATH: await fakeRestore(refusal, refusal) });
      expect(initializer.child.exitCode).toBe(1);
      expect(fatal(initializer)).toEqual([expect.stringMatching(/^iptables_failed: .*can not initialize ip6tables/)]);
    });

    const INTO = "s/^:CONTRAST_INPUT.*/&\\n-A CONTRAST_INPUT -p udp -j ACCEPT/";
    test.each([
      ["does nothing", "exit 0"],
      ["leaves one rule out", 'grep -v icmpv6-type | exec "$real" "$@"'],
      ["lets something more in", `sed '${INTO}' | exec "$real" "$@"`],
      ["puts the rules last", `sed 's/^-I INPUT/-A INPUT/; 1a -A INPUT -p udp -j ACCEPT' | exec "$real" "$@"`],
    ])("because what should do it %s, it does not end well", async (_, script) => {
      const { server } = await pods();
      const initializer = await closePorts(server, { PATH: await fakeRestore(script) });
      expect(initializer.child.exitCode).toBe(1);
      expect(fatal(initializer)).toEqual([expect.stringMatching(/^rules_differ: .*at ip6tables/)]);
    });

    test("without capabilities it does not end well", async () => {
      const { server } = await pods();
      const initializer = await closePorts(server, {}, asRoot("-all"));
      expect(initializer.child.exitCode).toBe(1);
      expect(fatal(initializer)).toEqual([expect.stringMatching(/^iptables_failed: .*; grant NET_ADMIN/)]);
    });

    test("it ends well where that is IPv6 and off on every interface", async () => {
      const { server } = await pods({ ipv6: false });
      const initializer = await closePorts(server, { PATH: await fakeRestore("exit 3", "exit 3") });
      expect(initializer.child.exitCode).toBe(0);
      expect(initializer.log).toContainEqual(expect.objectContaining({ off: ["IPv6"] }));
    });
  });

  test("IPv6 that is off is filtered where it can be: it may be turned on later", async () => {
    const { server, client } = await pods({ ipv6: false });
    expect((await closePorts(server)).child.exitCode).toBe(0);
    server.run("sh", "-c", "for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 0 > $file; done");
    server.run("ip", "address", "add", `${server.ipv6}/64`, "dev", "eth0", "nodad");
    await startApplications(server);
    expect(await reached(client, server)).toEqual(closedOf(server));
  });

  test.each([
    ["a connection", ({ ipv6 }: Pod) => `tcp:${ipv6}:${APP}`],
    ["a datagram", ({ ipv4 }: Pod) => `udp:${ipv4}:${DATAGRAMS}`],
    ["a datagram of IPv6", ({ ipv6 }: Pod) => `udp:${ipv6}:${DATAGRAMS}`],
  ])(
    "a pod that had %s before is closed, and refused for good, although who was reached is gone",
    async (_, placeIn) => {
      const { server, client } = await pods();
      const place = placeIn(server);
      const applications = await startApplications(server);
      expect(await reach(client, place)).toEqual({ [place]: "hello" });
      await Promise.all(applications.map(kill));
      for (let times = 0; times < 2; times++) {
        const initializer = await closePorts(server);
        expect(initializer.child.exitCode).toBe(1);
        expect(fatal(initializer)).toEqual([expect.stringMatching(/^reached_before: .*; delete the pod/)]);
      }
      await startApplications(server);
      expect(await reach(client, place)).toEqual({ [place]: "silence" });
    },
  );

  test("a datagram that waits for somebody who is held up was received before, too", async () => {
    const { server, client } = await pods();
    const application = server.start(["test/netns/udp-application.ts", server.ipv6, `${DATAGRAMS}`]);
    await application.line("listening");
    application.child.kill("SIGSTOP");
    const place = `udp:${server.ipv6}:${DATAGRAMS}`;
    expect(await reach(client, place)).toEqual({ [place]: "silence" });
    expect(fatal(await closePorts(server))).toEqual([expect.stringMatching(/^reached_before: .*unread datagrams 1/)]);
  });

  test("a connection of before ends with the rules", async () => {
    const { server, client } = await pods();
    await startApplication(server, APP);
    const stranger = client.start(["test/netns/hold.ts", server.ipv6, `${APP}`]);
    await stranger.line("answered");
    await closePorts(server);
    const answers = (): number => stranger.log.length;
    const before = answers();
    await setTimeout(1_500);
    // One may have been on its way.
    expect(answers() - before).toBeLessThanOrEqual(1);
  });

  test("strangers who try a pod where nobody listens don't keep it from starting", async () => {
    const { server, client } = await pods();
    const places = placesOf(server);
    expect(new Set(Object.values(await reach(client, ...places)))).toEqual(new Set(["ECONNREFUSED", "silence"]));
    expect((await closePorts(server)).child.exitCode).toBe(0);
  });

  test("where the ingress is not configured, or bound to addresses, there is nothing to close", async () => {
    const { server } = await pods();
    const before = rules(server);
    const unset = server.start(["initializer/main.ts", "static-rules"], {}, PRIVILEGED);
    expect(await unset.exited).toBe(2);
    for (const environment of [{ CONTRAST_INGRESS_MODE: "bind" }, { CONTRAST_INGRESS_PROXY_CONFIG: "web#0#true" }]) {
      expect((await closePorts(server, environment)).child.exitCode).toBe(2);
    }
    expect(rules(server)).toEqual(before);
  });
});
