import type { z } from "zod/mini";

/** What a schema makes of JSON that strangers wrote, or the first thing that is wrong with it. */
export type Read<T> =
  { readonly value: T } | { readonly path: readonly (string | number)[]; readonly want: string | undefined };

/** Of values: lists, objects, texts and numbers. A history of 10,000 steps has 40,000. */
const MOST_VALUES = 100_000;

/**
 * A schema looks at everything and collects what is wrong with it, so a long list of nothing costs many times its bytes, and
 * more faults than a call has room for arguments. Neither is looked at.
 */
export function readBySchema<T>(schema: z.ZodMiniType<T>, json: unknown): Read<T> {
  if (!isModest(json)) return { path: [], want: `at most ${MOST_VALUES} values` };
  const { data, error } = safeParse(schema, json);
  if (data !== undefined) return { value: data };
  const [issue] = error?.issues ?? [];
  const want = issue === undefined || !("expected" in issue) ? issue?.code : issue.expected;
  return { path: (issue?.path ?? []).map((step) => (typeof step === "symbol" ? "?" : step)), want };
}

/** Browsers differ in how much room there is. */
function safeParse<T>(schema: z.ZodMiniType<T>, json: unknown): Partial<z.core.util.SafeParseResult<T>> {
  try {
    return schema.safeParse(json);
  } catch (error) {
    if (error instanceof RangeError) return {};
    throw error;
  }
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
