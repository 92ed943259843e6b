import { join } from "node:path";
import { defineConfig } from "vitest/config";

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
];

/** Beside their sources, but slow: they start many programs, or make and verify evidence again and again. */
const SLOW = [
  "api/grpc-server.test.ts",
  "attestation/simulated/simulated.test.ts",
  "attestation/tdx/verify.test.ts",
  "channel/limits.test.ts",
  "cli/commands.test.ts",
  "cli/evidence/command.test.ts",
  "cli/verify/report/page.test.ts",
  "coordinator/damage.test.ts",
  "demo/apps/programs.test.ts",
  "fuzz/fuzz.test.ts",
  "images/guest/{check-program,check,make}.test.ts",
  "kubernetes/resource-file.test.ts",
  "cli/generate/policies/recorded-pods.test.ts",
  "policy/single-changes.test.ts",
  "mesh-proxy/**/{access-log,admin,churn,close-notify,egress,ingress,limits}.test.ts",
  "mesh-proxy/**/{live-credentials,metrics,program,pump,streams}.test.ts",
  "mesh-proxy/handshake/*.test.ts",
];

/** In test/, but quick: they read the sources and the documents. */
const QUICK = ["architecture", "manifest-docs", "threat-model"];

/** As many files at a time. Each has addresses, folders and namespaces of its own. */
const together = { maxWorkers: 2, sequence: { groupOrder: 0 } };

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
      {
        extends: true,
        test: { name: "images", include: HEAVY, exclude: everywhere, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
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
          sequence: { groupOrder: 2 },
          hookTimeout: 300_000,
        },
      },
    ],
    // Programs that tests start keep their compiled code here: half of what a start costs.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/compiled") },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // .ci/run counts what ran and what was skipped.
    reporters: isCi ? ["default", ["json", { outputFile: "test-results.json" }]] : ["default"],
  },
});
