import type { z } from "zod";
import { ImageError } from "./problem.ts";

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Reads a document of a registry.
 *
 * @param what for the error, which quotes nothing of the document: it may hold a token
 * @throws ImageError invalid_answer
 */
export function parseJson<T>(bytes: Uint8Array, schema: z.ZodType<T>, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(UTF8.decode(bytes));
  } catch {
    throw ImageError.invalid(`${what} is not JSON`, "JSON");
  }
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  const path = issue === undefined || issue.path.length === 0 ? "" : ` at ${issue.path.join(".")}`;
  throw ImageError.invalid(`${what} is malformed${path}`, issue?.message ?? "another form");
}
