import type { SeedShares } from "../../api/userapi_pb.ts";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";
import type { ActiveHistory } from "./active-history.ts";

/** What a Coordinator that has proven itself says of its deployment, whatever carried it. */
export interface Deployment extends ActiveHistory {
  readonly coordinator: VerifiedClaimant;
  /** PEM. */
  readonly meshCa: string;
  /** Undefined over HTTP, where they are not served. */
  readonly seedShares: SeedShares | undefined;
}
