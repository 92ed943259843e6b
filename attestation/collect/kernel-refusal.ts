import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import { EvidenceError } from "../error.ts";

/** What to do about an error of the kernel, by its name. */
export type Hints = Readonly<Record<string, string>>;

/** The same request may succeed a moment later. */
const BUSY: ReadonlySet<string> = new Set(["EBUSY", "EAGAIN", "EINTR"]);

/**
 * @param where the file
 * @param errno as Node gives it: negative
 * @param more what else is known about the error
 */
export function kernelRefusal(message: string, where: string, errno: number, hints: Hints, more = ""): EvidenceError {
  const name = getSystemErrorName(errno);
  return new EvidenceError(BUSY.has(name) ? "tee_busy" : "tee_unavailable", message, {
    where,
    got: `${name}, ${getSystemErrorMessage(errno)}${more}`,
    hint: hints[name],
  });
}

/** Runs an operation on a file; an error of the kernel becomes one that says what to do. */
export async function orRefusal<T>(
  message: string,
  where: string,
  hints: Hints,
  operation: () => Promise<T>,
): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    throw errno === undefined ? error : kernelRefusal(message, where, errno, hints);
  }
}
