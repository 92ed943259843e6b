import { digest } from "../crypto/node.ts";
import { toHex } from "./encode.ts";

/** 64 digits of lower-case hexadecimal. */
export function sha256Hex(bytes: Uint8Array): string {
  return toHex(digest("sha256", bytes));
}
