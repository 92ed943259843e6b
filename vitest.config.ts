import { defineConfig } from "vitest/config";

const isCi = process.env["CI"] === "true";

export default defineConfig({
  test: {
    include: ["**/*.test.ts"],
    exclude: ["node_modules", "dist"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // .ci/run counts what ran and what was skipped.
    reporters: isCi ? ["default", ["json", { outputFile: "test-results.json" }]] : ["default"],
  },
});
