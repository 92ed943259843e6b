import { VerifyRefusal } from "./types.ts";

/** For tests of what is refused. @returns the refusal @throws Error where it was verified */
export async function refusal(verification: Promise<unknown>): Promise<VerifyRefusal> {
  try {
    await verification;
  } catch (error) {
    if (error instanceof VerifyRefusal) return error;
    throw error;
  }
  throw new Error("it was verified");
}
