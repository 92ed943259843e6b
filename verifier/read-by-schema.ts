import type * as z from "zod/mini";
import { parseWith } from "../manifest/schema.ts";

/** What a schema makes of JSON that strangers wrote, or the first thing that is wrong with it. */
export type Read<T> = { readonly value: T } | { readonly path: readonly string[]; readonly want: string | undefined };

/** Of values: lists, objects, texts and numbers. A history of 10,000 steps has 40,000. */
const MOST_VALUES = 100_000;

/** A schema collects all that is wrong, so a long list of nothing costs many times its bytes. It is not looked at. */
export function readBySchema<T>(schema: z.ZodMiniType<T>, json: unknown): Read<T> {
  if (!isModest(json)) return { path: [], want: `at most ${MOST_VALUES} values` };
  const { data, error } = parseWith(schema, json);
  if (data !== undefined) return { value: data };
  const [issue] = error?.issues ?? [];
  return { path: (issue?.path ?? []).map(String), want: issue?.message };
}

function isModest(json: unknown): boolean {
  const waiting = [json];
  for (let seen = 0; waiting.length > 0; seen++) {
    const value = waiting.pop();
    if (typeof value !== "object" || value === null) continue;
    const inner = Object.values(value);
    if (seen + waiting.length + inner.length > MOST_VALUES) return false;
    for (const each of inner) waiting.push(each);
  }
  return true;
}
