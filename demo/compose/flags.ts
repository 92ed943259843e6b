/** The options of `npm run compose`, as its help has them. */
export interface Flags {
  readonly test?: boolean;
  readonly down?: boolean;
  readonly "no-build"?: boolean;
  readonly load?: string;
  readonly help?: boolean;
  /** The program has started itself in the network of an engine that ends with it. */
  readonly inside?: boolean;
}
