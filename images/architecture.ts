import { ImageError } from "./error.ts";

/** One architecture, by the names that its users have for it. */
export interface Architecture {
  /** OCI's, which is Go's. */
  readonly oci: "amd64" | "arm64";
  /** Node's and npm's. */
  readonly npm: "x64" | "arm64";
  readonly debian: "amd64" | "arm64";
  /** Debian's multiarch tuple. */
  readonly tuple: string;
}

const ARCHITECTURES: readonly Architecture[] = [
  { oci: "amd64", npm: "x64", debian: "amd64", tuple: "x86_64-linux-gnu" },
  { oci: "arm64", npm: "arm64", debian: "arm64", tuple: "aarch64-linux-gnu" },
];

/** Whether programs for it run here. */
export function isOfThisMachine({ npm }: Architecture): boolean {
  return npm === process.arch;
}

/** @throws ImageError unknown_architecture */
export function architecture(name: string): Architecture {
  const found = ARCHITECTURES.find(({ oci, npm }) => oci === name || npm === name);
  if (found !== undefined) return found;
  throw new ImageError("unknown_architecture", "there are no images for this architecture", {
    got: name,
    want: ARCHITECTURES.map(({ oci }) => oci).join(" or "),
    hint: "Node and koffi would have to come as binaries for it",
  });
}
