import { chmod, chown, copyFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { asPlainUser, asRoot, Network, NO_PLAIN_USER, NO_PODS, type Pod } from "./netns/pods.ts";
import type { Program } from "./programs.ts";

/** The mesh proxy in mode transparent, in a pod; its clients in another one. */

const APP = 8080;
const WEB = 8081;
const METRICS = 9090;
const ADMIN = 9102;
const RULES = `web#${WEB}#false##metrics#${METRICS}#true`;
const DENY = "INPUT -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP".split(" ");

let folder: string;

if (NO_PODS !== undefined) test.skip(`transparent ingress: ${NO_PODS}`);

describe.runIf(NO_PODS === undefined)("transparent ingress", () => {
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

  function startProxy(
    pod: Pod,
    environment: Record<string, string> = {},
    within: readonly string[] = asRoot(),
  ): Program {
    return pod.start(
      ["mesh-proxy/main.ts"],
      {
        CONTRAST_TLS_CONFIG_DIR: folder,
        CONTRAST_INGRESS_PROXY_CONFIG: RULES,
        CONTRAST_LOG_FORMAT: "json",
        ...environment,
      },
      within,
    );
  }

  async function startReady(...args: Parameters<typeof startProxy>): Promise<Program> {
    const proxy = startProxy(...args);
    await proxy.line("ready");
    return proxy;
  }

  async function startApplication(pod: Pod, port: number, host = "::"): Promise<Program> {
    const application = pod.start(["test/netns/application.ts", host, `${port}`]);
    await application.line("listening");
    return application;
  }

  const clients = (application: Program): unknown[] =>
    application.log.filter(({ msg }) => msg === "client").map(({ address }) => address);

  /** All rules of the pod, by both backends. */
  const rules = (pod: Pod): string =>
    ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"]
      .map((backend) => pod.run(backend, "-t", "mangle", "-S"))
      .join();

  /** What the port answers by IPv4 and by IPv6. */
  const both = async (client: Pod, server: Pod, port: number): Promise<string[]> =>
    Promise.all([client.call(server.ipv4, port, "plain"), client.call(server.ipv6, port, "plain")]);

  const codes = ({ log }: Program): unknown[] => log.map(({ code }) => code).filter((code) => code !== undefined);

  /** A folder with programs, to be found before those of the machine. */
  async function programs(files: Readonly<Record<string, string>>): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), "transparent-"));
    onTestFinished(async () => rm(directory, { recursive: true }));
    await chmod(directory, 0o755);
    for (const [name, content] of Object.entries(files)) {
      if (content.startsWith("/")) await copyFile(content, join(directory, name));
      else await writeFile(join(directory, name), content);
      await chmod(join(directory, name), 0o755);
    }
    return directory;
  }

  describe.each(["ipv4", "ipv6"] as const)("by %s", (family) => {
    test("a port without a rule is reached with a certificate only", async () => {
      const { server, client } = await pods();
      const application = await startApplication(server, APP, server[family]);
      const proxy = await startReady(server);
      expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
      expect(await client.call(server[family], APP, "tls", folder)).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
      expect(await client.call(server[family], APP, "plain")).toBe("ECONNRESET");
      // The application sees the proxy, which dials from the pod itself.
      expect(clients(application)).toEqual([server[family]]);
      await expect.poll(() => codes(proxy)).toEqual(["client_certificate_missing", "tls_handshake"]);
    });

    test("a port whose rule asks for no certificate is reached with TLS only", async () => {
      const { server, client } = await pods();
      const application = await startApplication(server, WEB, server[family]);
      await startReady(server);
      expect(await client.call(server[family], WEB, "tls", folder)).toBe("hello");
      expect(await client.call(server[family], WEB, "plain")).toBe("ECONNRESET");
      expect(clients(application)).toHaveLength(1);
    });

    test("a port whose rule disables TLS is not touched", async () => {
      const { server, client } = await pods();
      const application = await startApplication(server, METRICS, server[family]);
      await startReady(server);
      expect(await client.call(server[family], METRICS, "plain")).toBe("hello");
      expect(clients(application)).toEqual([client[family]]);
    });

    test("a port where no application listens is a reset", async () => {
      const { server, client } = await pods();
      const proxy = await startReady(server);
      expect(await client.call(server[family], APP, "mutual", folder)).toBe("ECONNRESET");
      await expect.poll(() => codes(proxy)).toEqual(["upstream_refused"]);
    });

    test("connections that the pod makes are not touched", async () => {
      const { server, client } = await pods();
      await startApplication(client, APP, client[family]);
      await startReady(server);
      expect(await server.call(client[family], APP, "plain")).toBe("hello");
    });

    test("the pod reaches its own application as before", async () => {
      const { server } = await pods();
      await startApplication(server, APP, "::");
      await startReady(server);
      expect(await server.call(server[family], APP, "plain")).toBe("hello");
      expect(await server.call({ ipv4: "127.0.0.1", ipv6: "::1" }[family], APP, "plain")).toBe("hello");
    });

    test("without a proxy every port is closed, and a new one opens them", async () => {
      const { server, client } = await pods();
      await startApplication(server, APP, server[family]);
      const proxy = await startReady(server);
      const before = rules(server);
      proxy.child.kill("SIGKILL");
      await proxy.exited;
      const calls = [client.call(server[family], APP, "plain"), client.call(server[family], APP, "mutual", folder)];
      expect(await Promise.all(calls)).toEqual(["silence", "silence"]);

      await startReady(server);
      expect(rules(server)).toBe(before);
      expect(await client.call(server[family], APP, "mutual", folder)).toBe("hello");
    });
  });

  test.each([15_006, 15_007])("nobody reaches the proxy by its port %i", async (port) => {
    const { server, client } = await pods();
    const proxy = await startReady(server);
    expect(await client.call(server.ipv4, port, "mutual", folder)).toBe("ECONNRESET");
    expect(await client.call(server.ipv6, port, "mutual", folder)).toBe("ECONNRESET");
    expect(await server.call("127.0.0.1", port, "mutual", folder)).toBe("ECONNRESET");
    expect(await server.call("::1", port, "mutual", folder)).toBe("ECONNRESET");
    await expect.poll(() => [...new Set(codes(proxy))]).toEqual(["not_redirected"]);
    expect(await server.call(server.ipv4, port, "plain")).toBe("ECONNREFUSED");
  });

  test("an address that is not the pod's is not relayed to", async () => {
    const { server, client } = await pods();
    const proxy = await startReady(server);
    server.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
    server.run("ip", "route", "add", "default", "via", client.ipv4);
    client.run("ip", "route", "add", "10.99.0.1", "via", server.ipv4);
    expect(await client.call("10.99.0.1", APP, "mutual", folder)).toBe("silence");
    expect(codes(proxy)).toEqual([]);
  });

  test("the admin port is open to probes", async () => {
    const { server, client } = await pods();
    await startReady(server, { CONTRAST_ADMIN_PORT: `${ADMIN}` });
    expect(client.run("curl", "-s", `http://${server.ipv4}:${ADMIN}/readyz`)).toBe("ready\n");
    expect(client.run("curl", "-s", `http://[${server.ipv6}]:${ADMIN}/readyz`)).toBe("ready\n");
  });

  test("a rule for the admin port goes before", async () => {
    const { server, client } = await pods();
    await startReady(server, {
      CONTRAST_ADMIN_PORT: `${ADMIN}`,
      CONTRAST_INGRESS_PROXY_CONFIG: `admin#${ADMIN}#false`,
    });
    const https = [
      "curl",
      "-s",
      "--cacert",
      join(folder, "mesh-ca.pem"),
      "--connect-to",
      `web:443:${server.ipv4}:${ADMIN}`,
    ];
    expect(client.run(...https, "https://web/readyz")).toBe("ready\n");
    expect(await client.call(server.ipv4, ADMIN, "plain")).toBe("ECONNRESET");
  });

  test("without an ingress configuration there are no rules", async () => {
    const { server, client } = await pods();
    await startApplication(server, APP, "::");
    const before = rules(server);
    const egress = { CONTRAST_EGRESS_PROXY_CONFIG: "db#127.0.0.1:5432#db:5432" };
    const proxy = server.start(["mesh-proxy/main.ts"], { CONTRAST_TLS_CONFIG_DIR: folder, ...egress }, asRoot("-all"));
    await proxy.line("ready");
    expect(rules(server)).toBe(before);
    expect(await client.call(server.ipv4, APP, "plain")).toBe("hello");
  });

  test("the rules stay when the proxy is stopped, and go when that is asked for", async () => {
    const { server, client } = await pods();
    await startApplication(server, APP, "::");
    const before = rules(server);
    const proxy = await startReady(server);
    proxy.child.kill("SIGTERM");
    expect(await proxy.exited).toBe(0);
    expect(await client.call(server.ipv4, APP, "plain")).toBe("silence");

    for (let times = 0; times < 2; times++) {
      const removal = server.start(["mesh-proxy/main.ts", "remove-rules"]);
      expect(await removal.exited).toBe(0);
      expect(rules(server)).toBe(before);
    }
    expect(await client.call(server.ipv4, APP, "plain")).toBe("hello");
  });

  /** `iptables-legacy` opens a raw socket, although the kernel does not ask for one. */
  const BACKENDS = [
    ["nft", "+net_admin"],
    ["legacy", "+net_admin,+net_raw"],
  ] as const;

  test.each(BACKENDS)("the %s backend will do, with %s", async (backend, granted) => {
    const { server, client } = await pods();
    await startApplication(server, APP, "::");
    const multi = `/usr/sbin/xtables-${backend}-multi`;
    const names = ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"];
    const directory = await programs(Object.fromEntries(names.map((name) => [name, multi])));
    await startReady(server, { PATH: `${directory}:/usr/bin` }, asRoot(granted));
    expect(server.run(`iptables-${backend}`, "-t", "mangle", "-S")).toContain("TPROXY");
    expect(server.run(`ip6tables-${backend}`, "-t", "mangle", "-S")).toContain("TPROXY");
    expect(rules(server).match(/-N CONTRAST_INGRESS/g)).toHaveLength(2);
    for (const address of [server.ipv4, server.ipv6]) {
      expect(await client.call(address, APP, "mutual", folder)).toBe("hello");
      expect(await client.call(address, APP, "plain")).toBe("ECONNRESET");
    }
  });

  test("where its start fails the ports are closed, and a guest's default deny keeps nobody out afterwards", async () => {
    const { server, client } = await pods();
    await startApplication(server, METRICS, "::");
    await startApplication(server, APP, "::");
    for (const backend of ["iptables-legacy", "ip6tables-nft"]) server.run(backend, "-I", ...DENY);
    // One rule is of the legacy backend, see above.
    const privileged = asRoot("+net_admin,+net_raw");
    for (const environment of [
      { CONTRAST_TLS_CONFIG_DIR: "/no/such/folder" },
      { CONTRAST_EGRESS_PROXY_CONFIG: "db#[::1]:15006#db:5432" },
    ]) {
      const proxy = startProxy(server, environment, privileged);
      expect(await proxy.exited).toBe(1);
      expect(rules(server).match(/-N CONTRAST_INGRESS/g)).toHaveLength(2);
      expect(await both(client, server, APP)).toEqual(["silence", "silence"]);
    }
    const proxy = await startReady(server, {}, privileged);
    expect(proxy.log).toContainEqual(
      expect.objectContaining({ static: expect.arrayContaining(["iptables-legacy", "ip6tables"]) as string[] }),
    );
    expect(await both(client, server, METRICS)).toEqual(["hello", "hello"]);
    for (const backend of ["iptables-legacy", "ip6tables-nft"]) expect(server.run(backend, "-C", ...DENY)).toBe("");
  });

  /** The capabilities that any thread of a process has or could use. */
  async function capabilities({ child }: Program): Promise<string[]> {
    const tasks = `/proc/${child.pid}/task`;
    const threads = await readdir(tasks);
    expect(threads.length).toBeGreaterThan(4);
    const status = await Promise.all(threads.map(async (thread) => readFile(`${tasks}/${thread}/status`, "utf8")));
    return status.flatMap((text) => text.match(/^Cap(Inh|Prm|Eff|Amb):.*[1-9a-f].*$/gm) ?? []);
  }

  test("what serves has no capability, in none of its threads, and can't get one", async () => {
    const { server } = await pods();
    const proxy = await startReady(server);
    expect(await capabilities(proxy)).toEqual([]);
    expect(await readFile(`/proc/${proxy.child.pid}/status`, "utf8")).toMatch(/^NoNewPrivs:\t1$/m);
  });

  if (NO_PLAIN_USER !== undefined) test.skip(`a plain user and a read-only image: ${NO_PLAIN_USER}`);

  /** Which tables the legacy backend has, the kernel tells uid 0 and gid 0; everybody else has to ask that backend. */
  const PLAIN_USERS = [
    ["nft", "+net_admin", "--groups=0"],
    ["nft", "+net_admin,+net_raw", "--clear-groups"],
    ["legacy", "+net_admin,+net_raw", "--clear-groups"],
  ] as const;

  test.runIf(NO_PLAIN_USER === undefined).each(PLAIN_USERS)(
    "a plain user and a read-only image will do, by %s with %s, %s",
    async (backend, granted, groups) => {
      const { server, client } = await pods();
      await startApplication(server, APP, "::");
      server.run("mount", "-o", "remount,bind,ro", "/");
      const readable = await mkdtemp(join(tmpdir(), "transparent-"));
      onTestFinished(async () => rm(readable, { recursive: true }));
      await cp(folder, readable, { recursive: true });
      for (const file of [readable, ...(await readdir(readable)).map((name) => join(readable, name))]) {
        await chown(file, 65_532, 65_532);
      }
      const multi = `/usr/sbin/xtables-${backend}-multi`;
      const directory = await programs({ iptables: multi, "iptables-restore": multi });
      const environment = { CONTRAST_TLS_CONFIG_DIR: readable, PATH: `${directory}:/usr/bin` };
      const proxy = await startReady(server, environment, asPlainUser(granted, groups));
      expect(server.run(`iptables-${backend}`, "-t", "mangle", "-S")).toContain("TPROXY");
      expect(await readFile(`/proc/${proxy.child.pid}/status`, "utf8")).toMatch(/^Uid:\t65532\t65532/m);
      expect(await capabilities(proxy)).toEqual([]);
      expect(await client.call(server.ipv4, APP, "mutual", folder)).toBe("hello");
      expect(await client.call(server.ipv6, APP, "mutual", folder)).toBe("hello");
    },
  );

  test.runIf(NO_PLAIN_USER === undefined)(
    "a plain user who can't see the legacy backend's tables is told so",
    async () => {
      const { server } = await pods();
      const proxy = startProxy(server, {}, asPlainUser("+net_admin"));
      expect(await proxy.exited).toBe(1);
      expect(proxy.log.map(({ msg }) => msg)).toEqual([
        expect.stringMatching(/^iptables_failed: .*at iptables-legacy.*; grant NET_ADMIN, and NET_RAW for the tables/),
      ]);
    },
  );

  test("without NET_ADMIN it does not start, and says so in one line", async () => {
    const { server } = await pods();
    const before = rules(server);
    const proxy = startProxy(server, {}, asRoot("-all"));
    expect(await proxy.exited).toBe(1);
    expect(proxy.log.map(({ msg }) => msg)).toEqual([expect.stringMatching(/^net_admin_missing: .*; add NET_ADMIN/)]);
    expect(rules(server)).toBe(before);
  });

  test("sockets that it did not make itself are refused", async () => {
    const { server } = await pods();
    const proxy = startProxy(server, { CONTRAST_INGRESS_SOCKETS: "IPv4:15006:17" });
    expect(await proxy.exited).toBe(1);
    expect(proxy.log.map(({ msg }) => msg)).toEqual([
      expect.stringMatching(/^set_up: .*leave CONTRAST_INGRESS_SOCKETS/),
    ]);
  });

  test("where IPv6 is off there is nothing to do for it", async () => {
    const { server, client } = await pods({ ipv6: false });
    await startApplication(server, APP, server.ipv4);
    const proxy = await startReady(server);
    expect(proxy.log.map(({ msg }) => msg)).toContain("IPv6 is off in this pod: no rules are needed");
    expect(await client.call(server.ipv4, APP, "mutual", folder)).toBe("hello");
  });

  test("where IPv6 is on and ip6tables is missing it does not start", async () => {
    const { server } = await pods();
    const multi = "/usr/sbin/xtables-nft-multi";
    const directory = await programs({ iptables: multi, "iptables-restore": multi });
    server.run("mount", "-t", "tmpfs", "none", "/usr/sbin");
    const proxy = startProxy(server, { PATH: `${directory}:/usr/bin` });
    expect(await proxy.exited).toBe(1);
    expect(proxy.log.map(({ msg }) => msg)).toEqual([
      expect.stringMatching(/^iptables_missing: can't filter IPv6 .*; install ip6tables/),
    ]);
  });

  test("where the kernel can't redirect, the ports are closed", async () => {
    const { server, client } = await pods();
    await startApplication(server, APP, "::");
    const restore = `#!/bin/sh
      input=$(cat)
      case $input in *TPROXY*) echo "unknown target TPROXY" >&2; exit 2;; esac
      echo "$input" | exec /usr/sbin/iptables-nft-restore "$@"`;
    const names = ["iptables", "iptables-nft", "iptables-legacy"];
    const directory = await programs(
      Object.fromEntries(
        names.flatMap((name) => [
          [name, "/usr/sbin/xtables-nft-multi"],
          [`${name}-restore`, restore],
        ]),
      ),
    );
    const proxy = startProxy(server, { PATH: `${directory}:/usr/bin` });
    expect(await proxy.exited).toBe(1);
    expect(proxy.log.map(({ msg }) => msg)).toEqual([
      expect.stringMatching(/^iptables_failed: .*got unknown target TPROXY/),
    ]);
    expect(await both(client, server, APP)).toEqual(["silence", "silence"]);
    expect(await server.call(server.ipv4, APP, "plain")).toBe("hello");
  });
});
