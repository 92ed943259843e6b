/** A time that somebody signed, and where it stands. Whether he may be believed is for whoever verified it. */
export interface SignedTime {
  /** For people: `thisUpdate of the revocation list of ARK-Milan`. */
  readonly what: string;
  readonly time: Date;
}
