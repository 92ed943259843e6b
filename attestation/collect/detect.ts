import { EvidenceError } from "../error.ts";
import type { Attester, TeeKind } from "../evidence.ts";
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

interface Interfaces {
  /** What configfs-tsm calls it. */
  readonly provider: string;
  readonly openTsm: (tsmReportDir: string, network: Network) => Attester;
  /** A device of its own, for kernels without configfs-tsm. @throws EvidenceError where there is none */
  readonly openDevice?: (interfaces: KernelInterfaces, network: Network) => Promise<Attester>;
  /** For people. */
  readonly want: string;
}

const INTERFACES: Readonly<Record<TeeKind, Interfaces>> = {
  snp: {
    provider: "sev_guest",
    openTsm: tsmSnpAttester,
    openDevice: async ({ sevGuestDevice }, network) => {
      await checkSevGuest(sevGuestDevice);
      return sevGuestAttester(sevGuestDevice, network);
    },
    want: "the provider sev_guest, or the device",
  },
  tdx: { provider: "tdx_guest", openTsm: tsmTdxAttester, want: "the provider tdx_guest" },
};

/** @throws EvidenceError tee_unavailable, saying all that was tried */
export async function openHardwareAttester(
  wanted: "auto" | TeeKind,
  kernel: KernelInterfaces,
  network: Network,
): Promise<Attester> {
  const { tsmReportDir } = kernel;
  const tried: string[] = [];
  const candidates = Object.entries(INTERFACES).filter(([kind]) => wanted === "auto" || wanted === kind);
  const provider = await attempt(() => readTsmProvider(tsmReportDir), tried);
  const [, found] = candidates.find(([, each]) => each.provider === provider) ?? [];
  if (found !== undefined) return found.openTsm(tsmReportDir, network);
  if (provider !== undefined) tried.push(`${tsmReportDir}: the provider is ${JSON.stringify(provider)}`);
  for (const [, { openDevice }] of candidates) {
    const opened = openDevice && (await attempt(() => openDevice(kernel, network), tried));
    if (opened !== undefined) return opened;
  }
  throw new EvidenceError("tee_unavailable", "found no TEE to collect evidence from", {
    where: `CONTRAST_TEE=${wanted}`,
    got: tried.map((text, index) => `(${index + 1}) ${text}`).join("; "),
    // It has more interfaces than the others.
    want: INTERFACES[wanted === "auto" ? "snp" : wanted].want,
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
