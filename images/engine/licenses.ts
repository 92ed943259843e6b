import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { ImageError } from "../error.ts";
import type { Crate } from "./crates.ts";

/** What the licences of the crates demand: their texts go with the engine. */

const IS_LICENSE = /(?:^|\/)(?:un)?(?:licen[cs]e|copying|notice)[\w.-]*$/i;

/**
 * Copies the licence texts of crates that are not of this repository, with those of code that they took over, to
 * `<crate>-<version>/<file>`.
 *
 * @throws ImageError build_failed where a crate has no text, and its licence is not MIT, whose text is known
 */
export async function copyLicenses(crates: readonly Crate[], directory: string): Promise<void> {
  for (const crate of crates) {
    if (crate.checksum === undefined) continue;
    const folder = join(directory, `${crate.name}-${crate.version}`);
    await mkdir(folder, { recursive: true });
    const entries = await readdir(crate.folder, { recursive: true, withFileTypes: true });
    const paths = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
    const files = paths.map((path) => relative(crate.folder, path)).filter((path) => IS_LICENSE.test(path));
    for (const name of files) await copyFile(join(crate.folder, name), join(folder, name.replaceAll("/", "-")));
    if (files.length === 0) await writeFile(join(folder, "LICENSE"), knownText(crate));
  }
}

function knownText({ name, version, license, authors }: Crate): string {
  if (license !== "MIT") {
    throw new ImageError("build_failed", `${name} ${version} has no licence text`, { got: license, want: "MIT" });
  }
  return `MIT License\n\nCopyright (c) ${authors.join(", ")}\n\n${MIT}`;
}

/** https://spdx.org/licenses/MIT.html */
const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
`;
