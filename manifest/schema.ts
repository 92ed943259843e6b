import { z } from "zod";
import { fromHex } from "../bytes/hex.ts";
import { type Fault, quote } from "../runtime/environment.ts";
import { type JsonPath, pathText } from "./json.ts";

/** The parts of the manifest's schema. The message of each is what would be right, so that a fault can say it. */

/** An object with these keys and no others: a key that is not known is a typing error, or a promise nobody keeps. */
export function record<Shape extends z.ZodRawShape>(shape: Shape): z.ZodObject<Shape, z.core.$strict> {
  const keys = Object.keys(shape).join(", ");
  return z.strictObject(shape, {
    error: ({ code }) => (code === "unrecognized_keys" ? `only ${keys}` : `an object with ${keys}`),
  });
}

export function list<Item extends z.ZodType>(item: Item): z.ZodArray<Item> {
  return z.array(item, { error: "a list" });
}

export const flag = z.boolean({ error: "true or false" });
export const text = z.string({ error: "a string" });

/** An unsigned integer of one byte. */
export const byte = ranged(0, 255);

/** An unsigned integer of four bytes. */
export const u32 = ranged(0, 0xffff_ffff);

function ranged(low: number, high: number): z.ZodNumber {
  const error = `a whole number from ${low} to ${high}`;
  return z.int({ error }).min(low, { error }).max(high, { error });
}

/** Bytes in hexadecimal, of either case. */
export function hexBytes(length: number): z.ZodType<Buffer> {
  const error = `${length * 2} hexadecimal digits`;
  return z
    .string({ error })
    .refine((value) => fromHex(value, length) !== undefined, { error })
    .transform((value) => Buffer.from(value, "hex"));
}

export const digest384 = hexBytes(48);

/**
 * What zod found wrong with `value`, one fault for each place.
 *
 * @param where names a place
 */
export function faultsOf(error: z.ZodError, value: unknown, where: (path: JsonPath) => string = pathText): Fault[] {
  return error.issues.flatMap((issue): Fault[] => {
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
