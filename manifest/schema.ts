import { en } from "zod/locales";
import * as z from "zod/mini";
import { fromHex } from "../bytes/hex.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { type JsonPath, pathText } from "./json.ts";

/** The parts of the manifest's schema. The message of each is what would be right, so that a fault can say it. */

/** An object with these keys and no others: a key that is not known is a typing error, or a promise nobody keeps. */
export function record<Shape extends z.core.$ZodShape>(shape: Shape): z.ZodMiniObject<Shape, z.core.$strict> {
  const keys = Object.keys(shape).join(", ");
  return z.strictObject(shape, {
    error: ({ code }) => (code === "unrecognized_keys" ? `only ${keys}` : `an object with ${keys}`),
  });
}

export function list<Item extends z.ZodMiniType>(item: Item): z.ZodMiniArray<Item> {
  return z.array(item, { error: "a list" });
}

export const flag = z.boolean({ error: "true or false" });
export const text = z.string({ error: "a string" });

/** An unsigned integer of one byte. */
export const byte = ranged(0, 255);

/** An unsigned integer of four bytes. */
export const u32 = ranged(0, 0xffff_ffff);

const safe = `a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`;
/** An unsigned integer of 53 bits: larger ones are read as others than are written. */
export const u53 = z.int({ error: safe }).check(z.minimum(0, { error: safe }));

function ranged(low: number, high: number): z.ZodMiniNumberFormat {
  const error = `a whole number from ${low} to ${high}`;
  return z.int({ error }).check(z.minimum(low, { error }), z.maximum(high, { error }));
}

/** Bytes in hexadecimal, of either case. */
export function hexBytes(length: number): z.ZodMiniType<Uint8Array> {
  const error = `${length * 2} hexadecimal digits`;
  return z.pipe(
    z.string({ error }).check(z.refine((value) => fromHex(value, length) !== undefined, { error })),
    z.transform((value: string) => fromHex(value) ?? z.NEVER),
  );
}

export const digest384 = hexBytes(48);

/** What is wrong with a value. */
export type Issues = Pick<z.core.$ZodError, "issues">;

/**
 * Reads a value of a stranger's.
 *
 * @returns `data`, or what is wrong with it. Zod can't join a hundred thousand faults, so those are one.
 */
export function parseWith<T>(
  schema: z.ZodMiniType<T>,
  value: unknown,
): { readonly data: T | undefined; readonly error: Issues | undefined } {
  try {
    const { data, error } = schema.safeParse(value, { error: localeError });
    return { data, error };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = "something with fewer faults";
    return { data: undefined, error: { issues: [{ code: "custom", path: [], message, input: value }] } };
  }
}

/** Of what has no text of its own. */
const { localeError } = en();

/** Where a transformation puts what is wrong. */
export type Faults = Pick<z.core.ParsePayload, "issues">;

/** A value of JSON of the same form: what texts say is open. */
export type Written<T> = T extends string
  ? string
  : T extends readonly (infer Item)[]
    ? readonly Written<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]: Written<T[Key]> }
      : T;

/**
 * The schema of what a schema reads, as long as it is being written: the same keys and types, and texts that may say
 * anything. Checks of a whole object are left out.
 */
export function written<S extends z.ZodMiniType>(schema: S): z.ZodMiniType<Written<z.input<S>>>;
export function written(schema: z.ZodMiniType): z.ZodMiniType {
  if (schema instanceof z.ZodMiniPipe) return written(schema.def.in as z.ZodMiniType);
  if (schema instanceof z.ZodMiniOptional) return z.optional(written(schema.def.innerType as z.ZodMiniType));
  if (schema instanceof z.ZodMiniArray) return list(written(schema.def.element as z.ZodMiniType));
  if (schema instanceof z.ZodMiniObject) return record(mapValues(schema.shape as Shape, (value) => written(value)));
  if (schema instanceof z.ZodMiniRecord) {
    return schema.clone({ ...schema.def, valueType: written(schema.def.valueType as z.ZodMiniType) });
  }
  if (schema instanceof z.ZodMiniString || schema instanceof z.ZodMiniEnum) return text;
  return schema;
}

type Shape = Readonly<Record<string, z.ZodMiniType>>;

export function mapValues(
  shape: Shape,
  map: (schema: z.ZodMiniType, key: string) => z.ZodMiniType,
): Record<string, z.ZodMiniType> {
  return Object.fromEntries(Object.entries(shape).map(([key, schema]) => [key, map(schema, key)]));
}

/**
 * What zod found wrong with `value`, one fault for each place.
 *
 * @param where names a place
 */
export function faultsOf(
  error: Issues | undefined,
  value: unknown,
  where: (path: JsonPath) => string = pathText,
): Fault[] {
  return (error?.issues ?? []).flatMap((issue): Fault[] => {
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        where: where([...issue.path, key]),
        got: "an unknown key",
        want: issue.message,
      }));
    }
    return [{ where: where(issue.path), got: describe(at(value, issue.path)), want: issue.message }];
  });
}

function at(value: unknown, path: JsonPath): unknown {
  return path.reduce<unknown>((inner, step) => (inner as Readonly<Record<PropertyKey, unknown>>)[step], value);
}

function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : JSON.stringify(value);
}
