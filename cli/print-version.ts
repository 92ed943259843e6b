import { VERSION } from "../runtime/version.ts";
import { ownImage } from "../policy/own-images.ts";
import { PLATFORMS } from "./generate/platform-names.ts";
import { runtimeClassName } from "./generate/platforms.ts";

/** `contrast --version`: what this version puts into pods, and the runtime classes that stand for its reference values. */
export function printVersion(out: (text: string) => void, format: "text" | "json"): void {
  const images = (["coordinator", "initializer", "mesh-proxy"] as const).map(ownImage);
  const classes = PLATFORMS.map((platform) => [platform, runtimeClassName(platform)] as const);
  if (format === "json") {
    const facts = { version: VERSION, images, runtimeClasses: Object.fromEntries(classes) };
    return out(`${JSON.stringify(facts, undefined, 2)}\n`);
  }
  const rows = classes.map(([platform, name]) => `  ${platform.padEnd(14)} ${name}`);
  const lines = [`contrast ${VERSION}`, "images:", ...images.map((image) => `  ${image}`), "runtime classes:", ...rows];
  out(`${lines.join("\n")}\n`);
}
