/** Of `contrast pending`. */
export interface PendingOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly workloadOwnerKey?: string;
  readonly signature?: string;
  readonly revoke?: boolean;
}
