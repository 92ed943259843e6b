import type { Configuration, Constraint } from "../runtime/environment.ts";
import { loopbackAddress, oneOf, onlyIfOne, path } from "../runtime/variables.ts";
import type { Network } from "./endorsements/fetch.ts";
import type { CocoApi } from "./collect/coco/api.ts";
import { openHardwareAttester } from "./collect/detect.ts";
import type { Attester } from "./evidence.ts";
import { openSimulatedAttester } from "./simulated/attester.ts";
import { TEE_KINDS } from "./tees.ts";

/** The variables by which a program finds its TEE (docs/design.md §2), and what has to hold between them. */
export const teeVariables = {
  CONTRAST_TEE: oneOf(["auto", ...TEE_KINDS, "coco", "simulated"], "auto", "the TEE of this VM, or coco"),
  CONTRAST_SEV_GUEST_DEVICE: path("/dev/sev-guest", "the device of SEV-SNP, for kernels without configfs-tsm"),
  CONTRAST_TSM_REPORT_DIR: path("/sys/kernel/config/tsm/report", "configfs-tsm's folder for reports"),
  CONTRAST_ATTESTATION_API: loopbackAddress(
    "127.0.0.1:8006",
    "the attestation API of CoCo's guest components, which is on loopback",
  ),
  CONTRAST_SIMULATED_TEE_DIR: path(undefined, "keys and identity of the software TEE"),
  CONTRAST_ALLOW_INSECURE: onlyIfOne("1 allows the software TEE, which proves nothing"),
} as const;

type TeeConfiguration = Configuration<typeof teeVariables>;

export const teeConstraints: readonly Constraint<typeof teeVariables>[] = [
  {
    about: ["CONTRAST_TEE", "CONTRAST_ALLOW_INSECURE"],
    faults: ({ CONTRAST_TEE: tee, CONTRAST_ALLOW_INSECURE: allowed }) =>
      tee !== "simulated" || allowed
        ? []
        : [{ where: "CONTRAST_ALLOW_INSECURE", got: "no 1", want: "1, for CONTRAST_TEE=simulated proves nothing" }],
  },
  {
    about: ["CONTRAST_TEE", "CONTRAST_SIMULATED_TEE_DIR"],
    faults: ({ CONTRAST_TEE: tee, CONTRAST_SIMULATED_TEE_DIR: directory }) =>
      tee !== "simulated" || directory !== undefined
        ? []
        : [
            {
              where: "CONTRAST_SIMULATED_TEE_DIR",
              got: "nothing",
              want: "a pod's folder below simulated-tee/ of the workspace, made by `contrast generate`",
            },
          ],
  },
];

/** Why nothing that a program with this configuration says may be relied on, or undefined. */
export function insecureReason({ CONTRAST_TEE: tee }: TeeConfiguration): string | undefined {
  return tee === "simulated" ? "software TEE" : undefined;
}

/** As programs reach the API that nobody else in their pod could use: the Coordinator's has no application. */
const unguarded: CocoApi["through"] = (use) => use(undefined);

/**
 * @param network what the collection from hardware waits with while the TEE is busy, and asks Azure's host with
 * @param through how CoCo's attestation API is reached
 * @throws EvidenceError `tee_unavailable`, and what `through` throws
 */
export async function openAttester(
  {
    CONTRAST_TEE: tee,
    CONTRAST_SIMULATED_TEE_DIR: directory,
    CONTRAST_SEV_GUEST_DEVICE: sevGuestDevice,
    CONTRAST_TSM_REPORT_DIR: tsmReportDir,
    CONTRAST_ATTESTATION_API: address,
  }: TeeConfiguration,
  network: Network,
  through: CocoApi["through"] = unguarded,
): Promise<Attester> {
  const cocoApi = { address, through };
  if (tee !== "simulated") return openHardwareAttester(tee, { tsmReportDir, sevGuestDevice, cocoApi }, network);
  // The constraints above saw to it that there is one.
  return openSimulatedAttester(directory ?? "");
}
