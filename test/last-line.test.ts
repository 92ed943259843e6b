import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { startProgram } from "./programs.ts";
import { createDeployment } from "./state-deployment.ts";

/**
 * What `kubectl describe` shows of a container that failed (terminationMessagePolicy: FallbackToLogsOnError): the last 2048
 * bytes or 80 lines of its log. The last line of every program says there what happened, with its code and the next step.
 */

const ADDRESS = "127.104.0.1";
let directory: string;
let tls: string;
let tee: Record<string, string>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "last-line-"));
  const mesh = await createMesh();
  tls = await writeTlsConfig(mesh, await mesh.issue());
  await createDeployment(directory, ADDRESS);
  tee = {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "coordinator"),
  };
  await writeFile(join(directory, "file"), "");
  await mkdir(join(directory, "damaged"));
  await writeFile(join(directory, "damaged/latest"), "damaged");
});

afterAll(async () => {
  await rm(directory, { recursive: true });
  await rm(tls, { recursive: true });
});

interface Failing {
  readonly what: string;
  readonly args: readonly string[];
  readonly variables?: () => Record<string, string>;
  /** Before the program, in the same process. */
  readonly node?: readonly string[];
  readonly exit: number;
  readonly code: string;
  readonly step: RegExp;
}

const uncaught = (script: string): string[] => [
  "--import",
  `data:text/javascript,setTimeout(()=>{${encodeURIComponent(script)}},800)`,
];
const MANY = Array.from({ length: 300 }, (_, index) => `rule${index}#port#maybe`).join("##");
const SERVING = (): Record<string, string> => ({
  CONTRAST_TLS_CONFIG_DIR: tls,
  CONTRAST_EGRESS_PROXY_CONFIG: `db#${ADDRESS}:5432#db:5432`,
});
const COORDINATING = (): Record<string, string> => ({
  ...tee,
  CONTRAST_STATE_DIR: join(directory, "state"),
  CONTRAST_LISTEN_ADDRESS: ADDRESS,
});

const FAILING: readonly Failing[] = [
  ...["coordinator", "initializer", "mesh-proxy", "node-installer"].map((program) => ({
    what: `${program}: an argument`,
    args: [`${program}/main.ts`, "--verbose\nall is well"],
    exit: 2,
    code: "arguments",
    step: /correct the arguments/,
  })),
  ...["coordinator", "initializer", "mesh-proxy"].map((program) => ({
    what: `${program}: its variables`,
    args: [`${program}/main.ts`],
    variables: () => ({
      CONTRAST_LOG_LEVEL: "x".repeat(10_000),
      CONTRAST_TEE: "\u001b[2J\n",
      CONTRAST_LOG_LEVL: "",
      CONTRAST_TLS_MIN: "1",
    }),
    exit: 2,
    code: "configuration",
    step: /correct these variables/,
  })),
  {
    what: "mesh-proxy: hundreds of faults",
    args: ["mesh-proxy/main.ts"],
    variables: () => ({ CONTRAST_INGRESS_PROXY_CONFIG: MANY }),
    exit: 2,
    code: "configuration",
    step: /correct these variables/,
  },
  {
    what: "mesh-proxy: no certificates",
    args: ["mesh-proxy/main.ts"],
    variables: () => ({ CONTRAST_TLS_CONFIG_DIR: join(directory, "missing") }),
    exit: 1,
    code: "certificates",
    step: /CONTRAST_TLS_CONFIG_DIR|Initializer|folder/,
  },
  {
    what: "mesh-proxy: a port that is taken",
    args: ["mesh-proxy/main.ts"],
    variables: () => ({ ...SERVING(), CONTRAST_EGRESS_PROXY_CONFIG: "db#127.104.0.2:7777#db:5432" }),
    exit: 1,
    code: "listen",
    step: /port|address/,
  },
  {
    what: "mesh-proxy: an exception that nobody caught",
    args: ["mesh-proxy/main.ts"],
    variables: SERVING,
    node: uncaught("throw new TypeError('x\\ny is not a function')"),
    exit: 1,
    code: "internal",
    step: /report it/,
  },
  {
    what: "coordinator: a rejection that nobody handled",
    args: ["coordinator/main.ts"],
    variables: COORDINATING,
    node: uncaught("Promise.reject(new Error('lost'))"),
    exit: 1,
    code: "internal",
    step: /report it/,
  },
  {
    what: "coordinator: a port that is taken",
    args: ["coordinator/main.ts"],
    variables: () => ({ ...COORDINATING(), CONTRAST_LISTEN_ADDRESS: "127.104.0.2" }),
    exit: 1,
    code: "address_unavailable",
    step: /port|address/,
  },
  {
    what: "coordinator: a state that is a file",
    args: ["coordinator/main.ts"],
    variables: () => ({ ...COORDINATING(), CONTRAST_STATE_DIR: join(directory, "file") }),
    exit: 1,
    code: "",
    step: /CONTRAST_STATE_DIR|volume|folder|make what it names available/,
  },
  {
    what: "coordinator: no TEE",
    args: ["coordinator/main.ts"],
    variables: () => ({
      CONTRAST_TEE: "snp",
      CONTRAST_SEV_GUEST_DEVICE: join(directory, "missing"),
      CONTRAST_TSM_REPORT_DIR: join(directory, "missing"),
      CONTRAST_STATE_DIR: join(directory, "state"),
    }),
    exit: 1,
    code: "",
    step: /\w/,
  },
  {
    what: "initializer: no Coordinator",
    args: ["initializer/main.ts"],
    variables: () => ({
      ...tee,
      COORDINATOR_HOST: `${ADDRESS}:9`,
      CONTRAST_TIMEOUT: "2s",
      CONTRAST_TLS_CONFIG_DIR: join(directory, "volume"),
    }),
    exit: 4,
    code: "gave_up",
    step: /Coordinator/,
  },
  {
    what: "initializer: no ingress to close",
    args: ["initializer/main.ts", "static-rules"],
    exit: 2,
    code: "configuration",
    step: /correct these variables/,
  },
];

const FORMATS = ["json", "pretty"] as const;

test.each(FAILING.flatMap((failing) => FORMATS.map((format) => ({ ...failing, format }))))(
  "$what, as $format",
  async ({ args, variables, node = [], exit, code, step, format }) => {
    const blocker = createServer().listen(7777, "127.104.0.2");
    await once(blocker, "listening");
    try {
      const program = startProgram([...node, ...args], { ...variables?.(), CONTRAST_LOG_FORMAT: format });
      expect(await program.exited).toBe(exit);
      const all = [...program.text, ...program.log.map((line) => JSON.stringify(line))];
      const last = (format === "json" ? all.slice(program.text.length) : program.text).at(-1) ?? "";
      expect(Buffer.byteLength(last)).toBeLessThan(2_000);
      const shown = format === "json" ? (JSON.parse(last) as { level: string; code: string; msg: string }) : undefined;
      if (shown !== undefined) {
        expect(program.text).toEqual([]);
        expect(shown).toMatchObject({ level: "fatal", code: code === "" ? expect.stringMatching(/^\w+$/) : code });
        expect(shown.msg.startsWith(`${shown.code}: `)).toBe(true);
      } else expect(last).toMatch(new RegExp(`^[\\d:.]+ FATAL \\S+ .*\\b${code}.*code=\\w+$`));
      const text = shown?.msg ?? last;
      expect(text.slice(text.lastIndexOf("; ") + 2)).toMatch(step);
      expect(text).not.toMatch(/\p{Cc}/u);
    } finally {
      blocker.close();
    }
  },
  60_000,
);

test("a pod that waits says what for, and what to do", async () => {
  const coordinator = startProgram(["coordinator/main.ts"], COORDINATING());
  const initializer = startProgram(["initializer/main.ts"], {
    ...tee,
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_TLS_CONFIG_DIR: join(directory, "volume"),
  });
  try {
    expect(await coordinator.line("ready")).toMatchObject({ state: "empty", hint: "run contrast set" });
    const waiting = await initializer.line("waiting: no_manifest");
    expect(waiting).toMatchObject({ level: "info", code: "no_manifest" });
    expect(waiting.msg).toMatch(/contrast set/);
    initializer.child.kill("SIGTERM");
    expect(await initializer.exited).toBe(5);
    expect(initializer.log.at(-1)).toMatchObject({ level: "fatal", code: "gave_up" });
    expect(initializer.log.at(-1)?.msg).toMatch(/^gave_up: stopped waiting: no_manifest: .*contrast set/);
  } finally {
    for (const { child } of [coordinator, initializer]) child.kill("SIGKILL");
    await Promise.all([coordinator.exited, initializer.exited]);
  }
}, 60_000);

test.each(["coordinator", "initializer", "mesh-proxy", "node-installer"])(
  "%s says in one line that it is not complete",
  async (name) => {
    const hook = `import { registerHooks } from "node:module";
    registerHooks({ resolve(specifier, context, next) {
      if (specifier === "pino") throw new Error("Cannot find package\\n'pino'");
      return next(specifier, context);
    } });`;
    const program = startProgram(["--import", `data:text/javascript,${encodeURIComponent(hook)}`, `${name}/main.ts`]);
    expect(await program.exited).toBe(1);
    expect(program.log).toEqual([]);
    expect(program.text).toEqual([expect.stringMatching(`^${name}: load: .*Cannot find package 'pino'; .*npm ci$`)]);
  },
);
