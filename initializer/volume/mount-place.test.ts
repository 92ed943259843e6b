import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

/** The place of a volume, with real mounts in mount namespaces of their own. */

const lacks = process.getuid?.() === 0 ? undefined : "only root can make mount namespaces";
const named = (what: string): string => (lacks === undefined ? what : `${what}: ${lacks}`);
const MODULE = join(import.meta.dirname, "mount-place.ts");
const KERNEL = join(import.meta.dirname, "kernel.ts");

/** Runs a script in a mount namespace. `place` is a folder with nothing mounted at it. @returns what it prints */
async function inNamespace(script: string): Promise<string> {
  const program = `
import { mkdtempSync, mkdirSync, readdirSync, writeFileSync, openSync } from "node:fs";
import { execFileSync } from "node:child_process";
const { closeMountPlace } = await import(${JSON.stringify(MODULE)});
const { mount } = await import(${JSON.stringify(KERNEL)});
const place = "/tmp/place";
await mount("tmpfs", "/tmp", "tmpfs", "", 0);
mkdirSync(place);
const tmpfs = (where) => mount("tmpfs", where, "tmpfs", "", 0);
/** As a second container has it: another mount of the same file system. */
const elsewhere = "/tmp/elsewhere";
mkdirSync(elsewhere);
const bind = () => mount(place, elsewhere, "", "", 4096);
const say = (text) => console.log(text);
const attempt = async (what) => { try { await what(); return "done"; } catch (error) { return error.code; } };
const write = (where) => attempt(() => writeFileSync(where + "/x", "x"));
${script}`;
  const node = [process.execPath, "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)("unshare", ["--mount", "--propagation", "private", ...node]);
  return stdout.trim();
}

test.skipIf(lacks)(named("nobody writes to it any more, in no container, and again changes nothing"), async () => {
  const said = await inNamespace(`
await tmpfs(place);
await bind();
say(await write(elsewhere)); execFileSync("rm", [elsewhere + "/x"]);
await closeMountPlace(place);
await closeMountPlace(place);
say(await write(place)); say(await write(elsewhere));`);
  expect(said.split("\n")).toEqual(["done", "EROFS", "EROFS"]);
});

test.skipIf(lacks)(named("what is mounted over it may be written to"), async () => {
  const said = await inNamespace(`
await tmpfs(place);
await closeMountPlace(place);
await tmpfs(place);
say(await write(place));`);
  expect(said).toBe("done");
});

test.skipIf(lacks)(named("somebody who wrote before is found, and by what is open"), async () => {
  const said = await inNamespace(`
await tmpfs(place);
await bind();
writeFileSync(elsewhere + "/early", "x");
say(await attempt(() => closeMountPlace(place)));
say(await write(elsewhere));
say(readdirSync(place).join());
const other = "/tmp/other"; mkdirSync(other); await tmpfs(other);
openSync(other + "/early", "w"); execFileSync("rm", [other + "/early"]);
say(await attempt(() => closeMountPlace(other)));`);
  expect(said.split("\n")).toEqual(["volume_place_used", "EROFS", "early", "volume_place_used"]);
});

test.skipIf(lacks)(named("a folder, and another file system, stay as they are"), async () => {
  const said = await inNamespace(`
writeFileSync(place + "/mine", "x");
await closeMountPlace(place);
say(await write(place));
await mount("proc", place, "proc", "", 0);
say(await attempt(() => closeMountPlace(place)));`);
  expect(said.split("\n")).toEqual(["done", "done"]);
});
