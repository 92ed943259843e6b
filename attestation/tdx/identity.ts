import { createHash } from "node:crypto";
import type { Launch } from "../launch.ts";
import { MIGRATABLE, TUD } from "./attributes.ts";
import type { TdFields } from "./body.ts";

/** SHA-384 of MRTD and RTMR 0 to 3, and whether TDATTRIBUTES let the host debug or migrate the TD. */
export function tdxLaunch({ mrTd, rtmrs, tdAttributes }: TdFields): Launch {
  return {
    measurement: createHash("sha384")
      .update(Buffer.concat([mrTd, ...rtmrs]))
      .digest("hex"),
    exposed: (tdAttributes & (TUD | MIGRATABLE)) !== 0n,
  };
}
