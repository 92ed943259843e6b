import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * One run in a process of its own, for `generate.ts`: `generate` or `bare`, a workspace, its resources. Prints the
 * processor time that it took in microseconds, from the start of the process on.
 */

const [subject = "", workspace = "", resources = ""] = process.argv.slice(2);
await (subject === "generate" ? generate() : bare());
const { user, system } = process.cpuUsage();
process.stdout.write(`${user + system}\n`);

async function generate(): Promise<void> {
  const program = await import("../cli/generate/generate.ts");
  const silent = (): void => undefined;
  await program.generate(
    {
      paths: [resources],
      workspaceDir: workspace,
      referenceValues: ["metal-qemu-snp"],
      manifestPath: join(workspace, "manifest.json"),
    },
    {
      now: () => new Date(),
      talk: silent,
      warn: silent,
      input: () => process.stdin,
      resolveImages: async () => ({ images: new Map(), problems: new Map() }),
    },
  );
}

/** Reads and writes what `generate` has written once, with the same library for YAML, and hashes the policies. */
async function bare(): Promise<void> {
  const { parseAllDocuments, stringify } = await import("yaml");
  for (const name of readdirSync(resources)) {
    const values: unknown[] = parseAllDocuments(readFileSync(join(resources, name), "utf8")).map((document) =>
      document.toJS(),
    );
    for (const value of values as readonly Resource[]) {
      const annotations = Object.values(value.spec?.template?.metadata?.annotations ?? {});
      for (const text of annotations) createHash("sha256").update(Buffer.from(text, "base64")).digest();
    }
    writeFileSync(join(workspace, name), values.map((value) => stringify(value)).join("---\n"));
  }
}

interface Resource {
  readonly spec?: { readonly template?: { readonly metadata?: { readonly annotations?: Record<string, string> } } };
}
