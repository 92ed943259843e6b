import { EvidenceError } from "../error.ts";
import type { Attester, TeeKind } from "../evidence.ts";
import { cocoAttester, sevGuestAttester, tsmSnpAttester, tsmTdxAttester } from "./attester.ts";
import { type CocoApi, probeCocoApi } from "./coco/api.ts";
import type { Network } from "../endorsements/fetch.ts";
import { readTsmProvider } from "./configfs-tsm.ts";
import { checkSevGuest } from "./sev-guest.ts";

/**
 * Finds the TEE of this VM and the interface to it: configfs-tsm, or else /dev/sev-guest, or else the attestation agent of
 * CoCo's guest components. The kernel comes first: nobody in the pod can answer in its place.
 */

export interface KernelInterfaces {
  /** The directory of all requests of configfs-tsm. */
  readonly tsmReportDir: string;
  readonly sevGuestDevice: string;
  /** Of the guest's attestation agent. */
  readonly cocoApi: CocoApi;
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
  wanted: "auto" | "coco" | TeeKind,
  kernel: KernelInterfaces,
  network: Network,
): Promise<Attester> {
  const { tsmReportDir } = kernel;
  const tried: string[] = [];
  const candidates = Object.entries(INTERFACES).filter(([kind]) => wanted === "auto" || wanted === kind);
  const provider = wanted === "coco" ? undefined : await attempt(() => readTsmProvider(tsmReportDir), tried);
  const [, found] = candidates.find(([, each]) => each.provider === provider) ?? [];
  if (found !== undefined) return found.openTsm(tsmReportDir, network);
  if (provider !== undefined) tried.push(`${tsmReportDir}: the provider is ${JSON.stringify(provider)}`);
  for (const [, { openDevice }] of candidates) {
    const opened = openDevice && (await attempt(() => openDevice(kernel, network), tried));
    if (opened !== undefined) return opened;
  }
  if (wanted === "auto" || wanted === "coco") {
    const { cocoApi } = kernel;
    const opened = await attempt(() => openCoco(cocoApi, network), tried);
    if (opened !== undefined) return opened;
  }
  throw new EvidenceError("tee_unavailable", "found no TEE to collect evidence from", {
    where: `CONTRAST_TEE=${wanted}`,
    got: tried.map((text, index) => `(${index + 1}) ${text}`).join("; "),
    want: WANTED[wanted],
  });
}

const WANTED: Readonly<Record<"auto" | "coco" | TeeKind, string>> = {
  // The one that has more interfaces than the others.
  auto: INTERFACES.snp.want,
  coco: "CoCo's attestation API",
  snp: INTERFACES.snp.want,
  tdx: INTERFACES.tdx.want,
};

async function openCoco(api: CocoApi, network: Network): Promise<Attester> {
  await api.through(async (localPort) => probeCocoApi(api, localPort));
  return cocoAttester(api, network);
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
