import { existsSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type TestProjectConfiguration } from "vitest/config";

const isCi = process.env["CI"] === "true";
const everywhere = ["node_modules", "dist", "demo-run"];

/** Builds images and runs an engine, or floods a program: beside them, others would miss their deadlines. */
const HEAVY = [
  "test/compose.test.ts",
  "test/coordinator-floods.test.ts",
  "test/enrolment.test.ts",
  "test/mesh/attacks.test.ts",
  "test/mesh/drain.test.ts",
  "test/mesh/handshake-flood.test.ts",
  "test/three-coordinators.test.ts",
];

/** Beside their sources, but slow: they start many programs, or make and verify evidence again and again. */
const SLOW = [
  "api/grpc-server.test.ts",
  "attestation/simulated/simulated.test.ts",
  "attestation/tdx/verify.test.ts",
  "channel/limits.test.ts",
  "cli/commands.test.ts",
  "cli/evidence/command.test.ts",
  "report/page.test.ts",
  "coordinator/peers/{attacks,peers}.test.ts",
  "coordinator/state/damage.test.ts",
  "coordinator/{attest,transit}/attacks.test.ts",
  "demo/apps/programs.test.ts",
  "fuzz/fuzz.test.ts",
  "images/guest/{check-program,check,make}.test.ts",
  "initializer/volume/guest.test.ts",
  "kubernetes/resource-file.test.ts",
  "cli/generate/policies/recorded-pods.test.ts",
  "policy/single-changes.test.ts",
  "mesh-proxy/**/{access-log,admin,churn,close-notify,egress,handshake,ingress,limits}.test.ts",
  "mesh-proxy/**/{live-credentials,metrics,program,pump,splice}.test.ts",
];

/** In test/, but quick: they read the sources and the documents. */
const QUICK = ["architecture", "manifest-docs", "threat-model"];

/** Whatever starts a mesh proxy is tested once more, with the native engine below it. */
const ENGINES = [
  "mesh-proxy/**/{access-log,admin,churn,close-notify,dial,egress}.test.ts",
  "mesh-proxy/**/{handshake,ingress,intake,limits,metrics,program}.test.ts",
  "test/mesh/*.test.ts",
  "test/{bound-ingress,interop,kubelet-probes,service-links,transparent}.test.ts",
];

/** They are about the native engine, or about both, whatever the others are tested with. */
const ONCE = ["test/mesh/{seam,verdicts}.test.ts"];

/** As many files at a time. Each has addresses, folders and namespaces of its own. */
const together = { maxWorkers: 2, sequence: { groupOrder: 0 } };
const alone = { maxWorkers: 1, sequence: { groupOrder: 2 } };

/** Not beside the projects before, which have the same addresses. */
const native: TestProjectConfiguration[] = [
  {
    extends: true,
    test: {
      name: "native",
      include: ENGINES,
      exclude: [...everywhere, ...HEAVY, ...ONCE],
      env: { CONTRAST_ENGINE: "native" },
      maxWorkers: 2,
      sequence: { groupOrder: 1 },
    },
  },
  {
    extends: true,
    test: {
      ...alone,
      name: "native alone",
      include: HEAVY.filter((file) => file.startsWith("test/mesh/")),
      exclude: everywhere,
      env: { CONTRAST_ENGINE: "native" },
    },
  },
];
const hasEngine = existsSync(join(import.meta.dirname, "node_modules/.cache/engine/engine.node"));

export default defineConfig({
  test: {
    projects: [
      {
        extends: true,
        test: {
          ...together,
          name: "fast",
          include: ["**/*.test.ts"],
          exclude: [...everywhere, `test/!(${QUICK.join("|")}).test.ts`, "test/*/**", ...SLOW],
        },
      },
      {
        extends: true,
        test: {
          ...together,
          name: "tests",
          include: ["test/**/*.test.ts", ...SLOW],
          exclude: [...everywhere, `test/{${QUICK.join(",")}}.test.ts`, "test/{cluster,long}/**", ...HEAVY],
        },
      },
      { extends: true, test: { ...alone, name: "images", include: HEAVY, exclude: everywhere } },
      ...(hasEngine ? native : []),
      {
        // Each builds the native engine once more: npm run test:long.
        extends: true,
        test: { name: "long", include: ["test/long/*.test.ts"], maxWorkers: 1, sequence: { groupOrder: 3 } },
      },
      {
        extends: true,
        test: {
          name: "cluster",
          include: ["test/cluster/*.test.ts"],
          globalSetup: "test/cluster/setup.ts",
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
          hookTimeout: 300_000,
        },
      },
    ],
    // Programs that tests start keep their compiled code here: half of what a start costs.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/compiled") },
    setupFiles: ["bytes/test-equality.ts", "crypto/test-recording.ts"].map((file) => join(import.meta.dirname, file)),
    // What is asked of node:crypto in tests is asked of WebCrypto as well.
    alias: [
      { find: /^(?:\.\.\/)+crypto\/node\.ts$/, replacement: join(import.meta.dirname, "crypto/test-recording.ts") },
    ],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // .ci/run counts what ran and what was skipped.
    reporters: isCi ? ["default", ["json", { outputFile: "test-results.json" }]] : ["default"],
  },
});
