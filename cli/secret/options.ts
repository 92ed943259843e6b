import type { AmendOptions } from "../workspace/amend.ts";

/** Of `contrast secret`. */
export interface SecretOptions extends AmendOptions {
  readonly for?: readonly string[];
  readonly fromFile?: string;
  readonly revoke?: boolean;
}
