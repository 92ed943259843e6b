import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Refusal } from "../../api/refusal.ts";
import type { Logger } from "../../runtime/log.ts";
import { AuditLog, reasonOf } from "./audit.ts";
import type { AuditEvent } from "./audit-events.ts";
import { auditVariables, openAuditSink } from "./audit-sink.ts";

/** Real files, a real full device, a real pipe that nobody reads. */

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "audit-test-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const now = (): Date => new Date("2026-06-01T00:00:00Z");

/** Standard output with a reader that is never behind. */
class Collected extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

interface Opened {
  readonly audit: AuditLog;
  readonly reopen: () => void;
  /** The messages of the log. */
  readonly messages: string[];
  readonly failures: () => number;
}

function open(destination: string, stdout: Writable = new Collected(), windowMs = 60_000): Opened {
  let failures = 0;
  const messages: string[] = [];
  const log = { error: (_: unknown, message: string) => messages.push(message) } as unknown as Logger;
  const sink = openAuditSink({ destination, stdout, log, onFailure: () => (failures += 1) });
  const audit = new AuditLog({ sink, now, insecure: undefined, windowMs });
  return { audit, reopen: () => sink.reopen?.(), messages, failures: () => failures };
}

const started: AuditEvent = { event: "coordinator_started", version: "1", phase: "empty" };

function refused(peer: string, code = "not_owner"): AuditEvent {
  return { event: "request_refused", api: "user", method: "SetManifest", peer, key: "0".repeat(64), code, message: "" };
}

const lines = (text: string): Record<string, unknown>[] =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const read = (path: string): Record<string, unknown>[] => lines(readFileSync(path, "utf8"));

test("a line has its number and the time of the injected clock", async () => {
  const stdout = new Collected();
  const { audit } = open("stdout", stdout);
  audit.record(started);
  audit.record({ event: "coordinator_stopped" });
  expect(lines(stdout.text)).toEqual([
    { audit: 1, time: "2026-06-01T00:00:00.000Z", event: "coordinator_started", version: "1", phase: "empty" },
    { audit: 2, time: "2026-06-01T00:00:00.000Z", event: "coordinator_stopped" },
  ]);
});

test("a file is appended to, for its owner alone, and opened anew after it was renamed", async () => {
  const path = join(directory, "audit.log");
  open(path).audit.record(started);
  expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
  const { audit, reopen } = open(path);
  audit.record(started);
  renameSync(path, `${path}.1`);
  audit.record(started);
  reopen();
  audit.record(started);
  expect(read(`${path}.1`).map((line) => line["audit"])).toEqual([1, 1, 2]);
  expect(read(path).map((line) => line["audit"])).toEqual([3]);
});

test("lines that a full disk loses are counted, told once, and missed by their numbers", () => {
  const path = join(directory, "full.log");
  symlinkSync("/dev/full", path);
  const { audit, reopen, messages, failures } = open(path);
  audit.record(started);
  audit.record(started);
  expect(failures()).toBe(2);
  expect(messages).toEqual(["the audit log can't be written: lines are lost"]);
  rmSync(path);
  reopen();
  audit.record(started);
  expect(read(path).map((line) => line["audit"])).toEqual([3]);
  expect(messages.at(-1)).toBe("the audit log is written again");
});

test("a file that can't be opened anew is kept, and that is told", () => {
  const folder = join(directory, "gone");
  const path = `${folder}.log`;
  const { audit, reopen, failures } = open(path);
  renameSync(path, `${path}.1`);
  symlinkSync(join(folder, "nowhere"), path);
  reopen();
  audit.record(started);
  expect(failures()).toBe(1);
  expect(read(`${path}.1`)).toHaveLength(1);
});

test("a file that can't be opened at the start is an error", () => {
  expect(() => open(join(directory, "no/such/folder"))).toThrow(/ENOENT/);
});

test("a reader of standard output that stalls costs a bounded backlog and no waiting", async () => {
  const child = spawn("sleep", ["60"], { stdio: ["pipe", "ignore", "ignore"] });
  const { audit, failures, messages } = open("stdout", child.stdin);
  for (let count = 0; count < 20_000; count++) audit.record(started);
  expect(child.stdin.writableLength).toBeLessThan(1024 * 1024 + 1000);
  expect(failures()).toBeGreaterThan(0);
  expect(messages).toHaveLength(1);
  await audit.close();
  child.kill();
});

test("a reader of standard output that went away ends nothing", async () => {
  const child = spawn(process.execPath, ["-e", "process.stdin.destroy()"], { stdio: ["pipe", "ignore", "ignore"] });
  await once(child, "exit");
  const { audit, failures } = open("stdout", child.stdin);
  audit.record(started);
  await expect.poll(failures).toBe(1);
  audit.record(started);
  await expect.poll(failures).toBe(2);
});

test("off writes nothing", async () => {
  const stdout = new Collected();
  const { audit } = open("off", stdout);
  audit.record(started);
  await audit.close();
  expect(stdout.text).toBe("");
});

test("of a flood of refusals an address gets five lines, and the rest is told in one", async () => {
  const stdout = new Collected();
  const { audit } = open("stdout", stdout);
  for (let port = 1; port <= 100; port++)
    audit.record(refused(`192.0.2.1:${port}`, port % 2 === 0 ? "not_owner" : "conflict"));
  audit.record(refused("[2001:db8::1]:1"));
  await audit.close();
  const written = lines(stdout.text);
  expect(written.filter(({ event }) => event === "request_refused")).toHaveLength(6);
  expect(written.at(-1)).toMatchObject({
    event: "refusals_suppressed",
    address: "192.0.2.1",
    codes: { conflict: 47, not_owner: 48 },
  });
  expect(written.map((line) => line["audit"])).toEqual([1, 2, 3, 4, 5, 6, 7]);
});

test("a flood from many addresses is bounded as well, and nothing else is ever suppressed", async () => {
  const stdout = new Collected();
  const { audit } = open("stdout", stdout);
  for (let index = 0; index < 10_000; index++) audit.record(refused(`10.0.${index >> 8}.${index & 255}:1`));
  for (let index = 0; index < 100; index++) audit.record(started);
  await audit.close();
  const written = lines(stdout.text);
  expect(written.filter(({ event }) => event === "request_refused")).toHaveLength(105);
  expect(written.filter(({ event }) => event === "coordinator_started")).toHaveLength(100);
  expect(written.at(-1)).toMatchObject({ address: "others", codes: { not_owner: 9895 } });
});

test("after the window an address has lines again", async () => {
  const stdout = new Collected();
  const { audit } = open("stdout", stdout, 20);
  for (let port = 1; port <= 6; port++) audit.record(refused(`192.0.2.1:${port}`));
  await expect.poll(() => stdout.text).toContain("refusals_suppressed");
  audit.record(refused("192.0.2.1:7"));
  expect(lines(stdout.text).at(-1)).toMatchObject({ event: "request_refused", peer: "192.0.2.1:7" });
});

test("a reason has a code, and an end", () => {
  expect(reasonOf(new Refusal("conflict", "x".repeat(5000)))).toMatchObject({ code: "conflict" });
  expect(reasonOf(new Refusal("conflict", "x".repeat(5000))).message).toHaveLength(1000);
  expect(reasonOf(new TypeError("x is not a function"))).toEqual({ code: "internal", message: "x is not a function" });
});

test.each(["", "audit.log", "./audit.log", "STDOUT", "/a\0b"])("CONTRAST_AUDIT_LOG=%j is an error", (text) => {
  expect(() => auditVariables.CONTRAST_AUDIT_LOG.parse(text)).toThrow("stdout, off or an absolute path");
});
