import { expect } from "vitest";
import type { Ended } from "./cli-deployment.ts";

/** What a command printed as JSON, which has to end with this code. */
export async function resultOf(code: number, ended: Promise<Ended>): Promise<Readonly<Record<string, unknown>>> {
  const { code: got, stdout, stderr } = await ended;
  expect(got, stderr).toBe(code);
  return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
}
