import { defineConfig } from "vitest/config";

const isCi = process.env["CI"] === "true";
const everywhere = ["node_modules", "dist", "demo-run"];

/** Builds images and runs an engine: beside it, others would miss their deadlines. */
const HEAVY = ["test/compose.test.ts"];

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: "tests", include: ["**/*.test.ts"], exclude: [...everywhere, ...HEAVY] } },
      { extends: true, test: { name: "images", include: HEAVY, exclude: everywhere, sequence: { groupOrder: 1 } } },
    ],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // .ci/run counts what ran and what was skipped.
    reporters: isCi ? ["default", ["json", { outputFile: "test-results.json" }]] : ["default"],
  },
});
