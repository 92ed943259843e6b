import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { NpmPackage } from "../../images/bundle.ts";
import { ReleaseError } from "../error.ts";

/** What the licences of everything in the executable demand: their texts, in one file beside it. */

const IS_LICENSE = /^(?:licen[cs]e|copying|notice)/i;

/** Comments at the head of a module, in either form. */
const HEADER = /^(?:\s*(?:\/\*[^]*?\*\/|\/\/.*\n))+/;

export interface LicensedPart extends NpmPackage {
  /** Where its text lies. */
  readonly folder: string;
  /** Those of its modules that are in the executable. */
  readonly modules: readonly string[];
}

/** @returns the texts, each below a heading @throws ReleaseError `unfit_bundle` where a part has none */
export async function licenseTexts(parts: readonly LicensedPart[]): Promise<string> {
  const sections = await Promise.all(
    parts.map(async (part) => {
      const title = `${part.name} ${part.version} (${part.license})`;
      return `${title}\n${"=".repeat(title.length)}\n\n${await textOf(part)}\n`;
    }),
  );
  return sections.join("\n\n");
}

async function textOf({ name, folder, modules }: LicensedPart): Promise<string> {
  const files = (await readdir(folder)).filter((file) => IS_LICENSE.test(file)).toSorted();
  const texts = await Promise.all(files.map(async (file) => readFile(join(folder, file), "utf8")));
  if (texts.length === 0) texts.push(...(await headers(modules)));
  if (texts.length > 0) return texts.map((text) => text.trim()).join("\n\n");
  throw new ReleaseError("unfit_bundle", "a package in the executable has no licence text", {
    got: name,
    where: folder,
  });
}

/** Some packages have their licences in the modules alone. @returns each once */
async function headers(modules: readonly string[]): Promise<string[]> {
  const sources = await Promise.all(modules.map(async (module) => readFile(module, "utf8")));
  const found = sources.map((source) => HEADER.exec(source)?.[0].trim() ?? "");
  return [...new Set(found)].filter((text) => /copyright|licen[cs]e/i.test(text));
}
