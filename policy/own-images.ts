import { VERSION } from "../runtime/version.ts";
import type { ImageConfig } from "../registry/resolved-image.ts";
import { RELEASED_IMAGES } from "./released-images.ts";

/**
 * What is known of our own images without a registry: `contrast/<program>:<version>`, which run the program in their one
 * file as a plain user, and say nothing else.
 */
export type OwnProgram = "coordinator" | "initializer" | "mesh-proxy";

/** The container that runs beside those of the pod's owner, and keeps and makes their connections. */
export const MESH_PROXY = "contrast-mesh-proxy";

/** What the Containerfiles set. */
const VARIABLES: Partial<Record<OwnProgram, readonly string[]>> = { "mesh-proxy": ["CONTRAST_ENGINE=native"] };

const REFERENCE = /^contrast\/(coordinator|initializer|mesh-proxy):[\w.-]+(?:@sha256:[0-9a-f]{64})?$/;

/** The image of this version. A checkout knows no digest: there it is named by `--image-replacements`. */
export function ownImage(program: OwnProgram): string {
  return RELEASED_IMAGES[program] ?? `contrast/${program}:${VERSION}`;
}

export function ownCommand(program: OwnProgram): string[] {
  return ["/usr/local/bin/node", `/opt/contrast/${program}/main.js`];
}

/** @returns undefined for an image that is not ours */
export function ownImageConfig(reference: string): ImageConfig | undefined {
  const released = Object.keys(RELEASED_IMAGES).find((name) => RELEASED_IMAGES[name] === reference);
  const program = (released ?? REFERENCE.exec(reference)?.[1]) as OwnProgram | undefined;
  if (program === undefined) return undefined;
  return {
    entrypoint: ownCommand(program),
    cmd: [],
    env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...(VARIABLES[program] ?? [])],
    workingDir: "/",
    user: "65532:65532",
    volumes: [],
  };
}
