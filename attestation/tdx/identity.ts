import { toHex } from "../../bytes/encode.ts";
import { digest } from "../../crypto/node.ts";
import type { Launch } from "../launch.ts";
import { MIGRATABLE, TUD } from "./attributes.ts";
import type { TdFields } from "./body.ts";

/** SHA-384 of MRTD and RTMR 0 to 3, and whether TDATTRIBUTES let the host debug or migrate the TD. */
export function tdxLaunch({ mrTd, rtmrs, tdAttributes }: TdFields): Launch {
  return { measurement: toHex(digest("sha384", mrTd, ...rtmrs)), exposed: (tdAttributes & (TUD | MIGRATABLE)) !== 0n };
}
