import { CodedError } from "../runtime/errors.ts";
import { onlyIfOne, oneOf, path } from "../runtime/variables.ts";
import type { Configuration } from "../runtime/environment.ts";
import type { Attester } from "./evidence.ts";
import { openSimulatedAttester } from "./simulated/attester.ts";

/** The variables by which a program finds its TEE (design §2). */
export const teeVariables = {
  CONTRAST_TEE: oneOf(["auto", "snp", "tdx", "simulated"], "auto", "which TEE this VM has"),
  CONTRAST_SIMULATED_TEE_DIR: path(undefined, "keys and identity of the software TEE"),
  CONTRAST_ALLOW_INSECURE: onlyIfOne("1 allows the software TEE, which proves nothing"),
} as const;

/**
 * - `insecure_not_allowed`: set CONTRAST_ALLOW_INSECURE=1, or use a real TEE
 * - `simulated_tee_missing`: set CONTRAST_SIMULATED_TEE_DIR to a directory that `contrast generate` made
 * - `no_tee`: there is no TEE here that this version can use
 */
export class TeeError extends CodedError<"insecure_not_allowed" | "simulated_tee_missing" | "no_tee"> {}

/** Why nothing that a program with this configuration says may be relied on, or undefined. */
export function insecureReason(configuration: Configuration<typeof teeVariables>): string | undefined {
  return configuration.CONTRAST_TEE === "simulated" ? "software TEE" : undefined;
}

/** @throws TeeError */
export async function openAttester(configuration: Configuration<typeof teeVariables>): Promise<Attester> {
  const tee = configuration.CONTRAST_TEE;
  if (tee !== "simulated") {
    throw new TeeError("no_tee", "collecting evidence from hardware is not part of this version", {
      where: "CONTRAST_TEE",
      got: tee,
      want: "simulated",
    });
  }
  if (!configuration.CONTRAST_ALLOW_INSECURE) {
    throw new TeeError("insecure_not_allowed", "the software TEE proves nothing and was not allowed", {
      where: "CONTRAST_ALLOW_INSECURE",
      want: "1, in tests and demonstrations only",
    });
  }
  if (configuration.CONTRAST_SIMULATED_TEE_DIR === undefined) {
    throw new TeeError("simulated_tee_missing", "the software TEE has no keys and no identity", {
      where: "CONTRAST_SIMULATED_TEE_DIR",
      got: "nothing",
      want: "a directory below simulated-tee/ of the workspace, made by `contrast generate`",
    });
  }
  return openSimulatedAttester(configuration.CONTRAST_SIMULATED_TEE_DIR);
}
