import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { Secret } from "../runtime/secret.ts";
import type { Credentials } from "./credentials.ts";
import type { ImageProblem } from "./problem.ts";
import { resolveImages, type Resolution, type ResolveOptions } from "./resolve.ts";

/** For tests: a run of `resolveImages` on a real network, with sleeps that are only counted. */

/** Where a deadline is not what is tested, a busy machine must not meet one. */
export const PATIENT = { connect: 20_000, answer: 20_000 };
export const NOW = new Date("2026-06-01T00:00:00Z");

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "contrast-images-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export interface TestRun extends Resolution {
  readonly slept: readonly number[];
  readonly warnings: readonly string[];
  readonly progress: readonly string[];
}

export async function run(references: readonly string[], options: Partial<ResolveOptions> = {}): Promise<TestRun> {
  const slept: number[] = [];
  const warnings: string[] = [];
  const progress: string[] = [];
  const resolution = await resolveImages(references, {
    cacheDirectory: options.cacheDirectory ?? temporaryDirectory(),
    offline: false,
    network: testNetwork(slept),
    credentials: () => Promise.resolve(undefined),
    onWarning: (message) => void warnings.push(message),
    onProgress: (done, total, reference) => void progress.push(`${done}/${total} ${reference}`),
    ...options,
  });
  return { ...resolution, slept, warnings, progress };
}

export function testNetwork(slept: number[] = []): ResolveOptions["network"] {
  return {
    now: () => NOW,
    random: () => 0.5,
    sleep: (ms) => Promise.resolve(slept.push(ms)),
    environment: {},
    deadlines: PATIENT,
  };
}

/** The problem with the one reference. */
export async function problemOf(reference: string, options: Partial<ResolveOptions> = {}): Promise<ImageProblem> {
  const { images, problems } = await run([reference], options);
  const problem = problems.get(reference);
  if (problem === undefined) throw new Error(`no problem with ${reference}: ${JSON.stringify(images.get(reference))}`);
  return problem;
}

export function password(username: string, text: string): Credentials {
  return { kind: "password", username, password: new Secret(Buffer.from(text)) };
}
