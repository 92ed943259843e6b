import { toHex } from "../../bytes/encode.ts";
import type { Launch } from "../launch.ts";
import { GUEST_POLICY, isSet } from "./flags.ts";
import type { SnpReport } from "./report.ts";

/** MEASUREMENT, and whether POLICY lets the host debug or migrate the VM. */
export function snpLaunch({ measurement, policy }: SnpReport): Launch {
  const exposed = isSet(policy, GUEST_POLICY.Debug) || isSet(policy, GUEST_POLICY.MigrateMA);
  return { measurement: toHex(measurement), exposed };
}
