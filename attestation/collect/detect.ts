import { EvidenceError } from "../error.ts";
import type { Attester } from "../evidence.ts";
import { sevGuestAttester, tsmSnpAttester, tsmTdxAttester } from "./attester.ts";
import type { Network } from "../endorsements/fetch.ts";
import { readTsmProvider } from "./configfs-tsm.ts";
import { checkSevGuest } from "./sev-guest.ts";

/** Finds the TEE of this VM and the interface of the kernel to it: configfs-tsm, or else /dev/sev-guest. */

export interface KernelInterfaces {
  /** The directory of all requests of configfs-tsm. */
  readonly tsmReportDir: string;
  readonly sevGuestDevice: string;
}

const PROVIDERS: ReadonlyMap<string, "snp" | "tdx"> = new Map([
  ["sev_guest", "snp"],
  ["tdx_guest", "tdx"],
]);

/** @throws EvidenceError tee_unavailable, saying all that was tried */
export async function openHardwareAttester(
  wanted: "auto" | "snp" | "tdx",
  { tsmReportDir, sevGuestDevice }: KernelInterfaces,
  network: Network,
): Promise<Attester> {
  const tried: string[] = [];
  const provider = await attempt(() => readTsmProvider(tsmReportDir), tried);
  const tee = PROVIDERS.get(provider ?? "");
  if (tee !== undefined && (wanted === "auto" || wanted === tee)) {
    return tee === "snp" ? tsmSnpAttester(tsmReportDir, network) : tsmTdxAttester(tsmReportDir, network);
  }
  if (provider !== undefined) tried.push(`${tsmReportDir}: the provider is ${JSON.stringify(provider)}`);
  if (wanted !== "tdx") {
    const found = await attempt(async () => {
      await checkSevGuest(sevGuestDevice);
      return sevGuestAttester(sevGuestDevice, network);
    }, tried);
    if (found !== undefined) return found;
  }
  throw new EvidenceError("tee_unavailable", "found no TEE to collect evidence from", {
    where: `CONTRAST_TEE=${wanted}`,
    got: tried.map((text, index) => `(${index + 1}) ${text}`).join("; "),
    want: wanted === "tdx" ? "the provider tdx_guest" : "the provider sev_guest, or the device",
  });
}

/** @returns undefined where it failed; `tried` then says why */
async function attempt<T>(operation: () => Promise<T>, tried: string[]): Promise<T | undefined> {
  try {
    return await operation();
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    tried.push(`${error.where}: ${error.got}${error.hint === undefined ? "" : `; ${error.hint}`}`);
    return undefined;
  }
}
