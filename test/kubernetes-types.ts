import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Compares resources with the types of the Kubernetes API 1.30, by the TypeScript compiler: required fields, kinds of
 * values, and, because they are literals, fields that do not exist.
 */

const root = join(import.meta.dirname, "..");

const MODULES: Readonly<Record<string, string>> = {
  v1: "core/v1",
  "apps/v1": "apps/v1",
  "networking.k8s.io/v1": "networking/v1",
  "node.k8s.io/v1": "node/v1",
  "rbac.authorization.k8s.io/v1": "rbac/v1",
};

/** @returns the compiler's complaints, each with the name and the line of the resource */
export function typeErrors(resources: Readonly<Record<string, unknown>>): string[] {
  const folder = mkdtempSync(join(tmpdir(), "contrast-types-test-"));
  try {
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    for (const [name, resource] of Object.entries(resources)) {
      const { apiVersion, kind } = resource as { apiVersion: string; kind: string };
      const type = `import("kubernetes-types/${MODULES[apiVersion] ?? apiVersion}").${kind}`;
      const text = `export const resource: Required<Pick<${type}, "apiVersion" | "kind">> & ${type} = `;
      writeFileSync(join(folder, `${name}.ts`), text + JSON.stringify(resource, undefined, 2));
    }
    const options = ["--noEmit", "--strict", "--pretty", "false", "--types", "", "--moduleResolution", "bundler"];
    const files = Object.keys(resources).map((name) => `${name}.ts`);
    const tsc = join(root, "node_modules", ".bin", "tsc");
    const { stdout, stderr, status } = spawnSync(tsc, [...options, "--module", "esnext", ...files], {
      cwd: folder,
      encoding: "utf8",
    });
    const lines = (stdout + stderr).split("\n").filter((line) => line !== "");
    return status === 0 ? [] : lines;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
