import { z } from "zod";
import { quote } from "../runtime/fault.ts";
import { parseJson } from "./json.ts";
import { PLATFORM, unsupported } from "./manifest.ts";
import type { ImageConfig } from "./resolved-image.ts";

/** The config of an image (OCI Image Specification 1.1, config.md). Docker writes null for what is empty. */

const texts = z.array(z.string()).nullish();
const CONFIG = z.object({
  os: z.string(),
  architecture: z.string(),
  config: z
    .object({
      Entrypoint: texts,
      Cmd: texts,
      Env: texts,
      WorkingDir: z
        .string()
        .regex(/^(?:\/|$)/, "an absolute path")
        .nullish(),
      User: z.string().nullish(),
      Volumes: z.record(z.string(), z.unknown()).nullish(),
    })
    .nullish(),
});

/** @throws ImageError invalid_answer, unsupported_image */
export function parseConfig(bytes: Uint8Array, what: string): ImageConfig {
  const { os, architecture, config } = parseJson(bytes, CONFIG, what);
  // An image without an index says only here what it is for.
  if (os !== PLATFORM.os || architecture !== PLATFORM.architecture) {
    throw unsupported(`an image for ${quote(`${os}/${architecture}`)}`);
  }
  return {
    entrypoint: config?.Entrypoint ?? [],
    cmd: config?.Cmd ?? [],
    env: config?.Env ?? [],
    workingDir: config?.WorkingDir ?? "",
    user: config?.User ?? "",
    volumes: Object.keys(config?.Volumes ?? {}).sort(),
  };
}
