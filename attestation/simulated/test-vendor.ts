import { testRsaKey } from "../test-keys.ts";
import { openOrCreateVendor, type SimulatedVendor } from "./vendor.ts";

/** For tests: a vendor of software TEEs whose keys need not be made. @param name one vendor for each */
export function openTestVendor(dir: string, now: Date, name = "simulated"): Promise<SimulatedVendor> {
  return openOrCreateVendor(dir, now, (certificate) => testRsaKey(4096, `${name}-${certificate}`));
}
