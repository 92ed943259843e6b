import { Readable } from "node:stream";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Clock } from "../../attestation/clock.ts";
import { NO_VENDORS } from "../../attestation/endorsements/test-vendors.ts";
import type { Context } from "../context.ts";
import { NO_PROGRESS } from "../progress.ts";
import type { EvidenceOptions } from "./request.ts";
import type { Verdict } from "./verdict.ts";
import { verifyEvidence } from "./verify.ts";

/** For tests: files, and the command without a process around it. */

export interface Folder {
  /** Writes a file and returns its path. */
  readonly put: (name: string, content: string | Uint8Array) => string;
  readonly remove: () => void;
}

export function makeFolder(): Folder {
  const directory = mkdtempSync(join(tmpdir(), "evidence-test-"));
  return {
    put: (name, content) => {
      const path = join(directory, name);
      writeFileSync(path, content);
      return path;
    },
    remove: () => rmSync(directory, { recursive: true }),
  };
}

/** @param format of what `output` collects */
export function makeContext(
  at: Date,
  format: "text" | "json",
  insecure = false,
): { context: Context; output: string[] } {
  const output: string[] = [];
  const context: Context = {
    workspace: "/nonexistent",
    format,
    insecure,
    now: () => at,
    clock: new Clock({ now: () => at, built: () => undefined }),
    network: {
      fetch: () => Promise.reject(new Error("the verifier uses no network")),
      now: () => at,
      random: () => 0,
      sleep: () => Promise.resolve(),
    },
    random: () => new Uint8Array(32),
    vendors: NO_VENDORS,
    resolveImages: () => Promise.reject(new Error("the verifier uses no network")),
    input: () => Readable.from([]),
    out: (text) => void output.push(text),
    talk: () => undefined,
    warn: () => undefined,
    progress: () => NO_PROGRESS,
  };
  return { context, output };
}

/** Runs `contrast evidence verify --output json`. */
export async function verdictOf(
  at: Date,
  options: EvidenceOptions,
  insecure = false,
): Promise<Verdict & { readonly exit: number }> {
  const { context, output } = makeContext(at, "json", insecure);
  const exit = await verifyEvidence(context, options);
  return { ...(JSON.parse(output.join("")) as Verdict), exit };
}
