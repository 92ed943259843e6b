/** CHANGELOG.md, in the form of https://keepachangelog.com/en/1.1.0/: a section `## [<version>] - <date>` for each version. */

/** @returns what is below the heading of the version; undefined where there is no dated heading, or nothing below it */
export function sectionOf(changelog: string, version: string): string | undefined {
  const sections = changelog.split(/^## /m).slice(1);
  const heading = new RegExp(`^\\[${version.replaceAll(".", "\\.")}\\] - \\d{4}-\\d{2}-\\d{2}\\n`);
  const section = sections.find((text) => heading.test(text))?.replace(heading, "");
  // The addresses of versions stand at the end of the file.
  const text = section?.replaceAll(/^\[[^\]]+\]: .*$/gm, "").trim();
  return text === "" ? undefined : text;
}
