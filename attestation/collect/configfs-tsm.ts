import { randomBytes } from "node:crypto";
import { rmdirSync } from "node:fs";
import { constants, mkdir, open, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { EvidenceError } from "../error.ts";
import { type Waiting, whileBusy } from "./busy.ts";
import { type Hints, orRefusal } from "./kernel-refusal.ts";

/**
 * Reports from configfs-tsm (Linux, Documentation/ABI/testing/configfs-tsm-report), the same for AMD and Intel: a
 * directory is an own request, its files are the questions and the answers. Here every attempt has a directory of its
 * own, which is gone when the attempt is over.
 */
export interface TsmReport {
  /** Which driver answers: `sev_guest` or `tdx_guest`. */
  readonly provider: string;
  /** SNP: the report. TDX: the quote. */
  readonly outblob: Buffer;
  /** SNP: the certificate table of the host. Empty where there is none. */
  readonly auxblob: Buffer;
}

const HINTS: Hints = {
  ENOENT: "it takes Linux 6.7 or later with CONFIG_TSM_REPORTS, and configfs mounted on /sys/kernel/config",
  ENXIO: "no TEE answers: load the kernel's sev-guest or tdx-guest, or start this in a confidential VM",
  EACCES: "run as root; a container also needs the directory from its host, writable",
  EPERM: "run as root; a container also needs the directory from its host, writable",
  EROFS: "a container needs the directory from its host, writable",
  EINVAL: "the driver does not make reports of 64 bytes at the most privileged level of this VM",
  EFBIG: "the kernel's limit is lower than the size of the report: update the kernel",
  EBUSY: "another request is under way: try again later",
  EIO: "the secure processor or the host refused: see the kernel's log",
  ENOTTY: "after an earlier error the kernel no longer talks to the secure processor: restart the VM",
  ETIMEDOUT: "the host's quoting service does not answer: see the kernel's log and the host's",
};

/** @throws EvidenceError tee_unavailable */
export function readTsmProvider(dir: string): Promise<string> {
  return withEntry(dir, readProvider);
}

/**
 * @param dir the directory of all reports
 * @param reportData 64 bytes
 * @throws EvidenceError tee_unavailable, tee_busy
 */
export function collectTsmReport(dir: string, reportData: Uint8Array, waiting: Waiting): Promise<TsmReport> {
  if (reportData.length !== 64) throw new RangeError(`got ${reportData.length} bytes of report data, want 64`);
  return whileBusy(() => withEntry(dir, (entry) => request(entry, reportData)), waiting);
}

async function request(entry: string, reportData: Uint8Array): Promise<TsmReport> {
  const provider = await readProvider(entry);
  const before = await readGeneration(entry);
  await writeInblob(join(entry, "inblob"), reportData);
  const outblob = await read(entry, "outblob");
  const auxblob = await readAuxblob(entry);
  const after = await readGeneration(entry);
  // Every write counts. Another number of them means that somebody else wrote, and that the answer is to them.
  if (after !== before + 1n) {
    throw new EvidenceError("tee_busy", "the report may be the answer to another request", {
      where: join(entry, "generation"),
      got: `${after}`,
      want: `${before + 1n}`,
      hint: "another program writes into this directory, or the kernel did not take the request: try again later",
    });
  }
  return { provider, outblob, auxblob };
}

async function withEntry<T>(dir: string, use: (entry: string) => Promise<T>): Promise<T> {
  const entry = join(dir, `contrast-${process.pid}-${randomBytes(8).toString("hex")}`);
  await orRefusal("the kernel takes no requests for reports", dir, HINTS, () => mkdir(entry));
  const removeAtExit = (): void => {
    try {
      rmdirSync(entry);
    } catch {
      // The process ends, and what it leaves is an empty request.
    }
  };
  // A program that is told to stop doesn't wait for its evidence.
  process.on("exit", removeAtExit);
  try {
    return await use(entry);
  } finally {
    process.off("exit", removeAtExit);
    // What was collected is good all the same.
    await rmdir(entry).catch(() => undefined);
  }
}

async function readProvider(entry: string): Promise<string> {
  return (await read(entry, "provider")).toString("latin1").trim();
}

async function readGeneration(entry: string): Promise<bigint> {
  const text = (await read(entry, "generation")).toString("latin1").trim();
  if (/^\d{1,20}$/.test(text)) return BigInt(text);
  throw new EvidenceError("tee_unavailable", "this is not the kernel's interface", {
    where: join(entry, "generation"),
    got: JSON.stringify(text.slice(0, 40)),
    want: "a number",
    hint: HINTS["ENOENT"],
  });
}

/** In one write, for the kernel counts writes; it takes the bytes when the file is closed. */
function writeInblob(path: string, reportData: Uint8Array): Promise<void> {
  return orRefusal("the kernel does not take the report data", path, HINTS, async () => {
    const file = await open(path, constants.O_WRONLY);
    try {
      await file.write(reportData);
    } finally {
      await file.close();
    }
  });
}

function read(entry: string, name: "provider" | "generation" | "outblob"): Promise<Buffer> {
  const path = join(entry, name);
  return orRefusal("the kernel does not give the report", path, HINTS, () => readFile(path));
}

/** TDX has no such file. */
function readAuxblob(entry: string): Promise<Buffer> {
  const path = join(entry, "auxblob");
  return orRefusal("the kernel does not give the certificates", path, HINTS, () =>
    readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return Buffer.alloc(0);
      throw error;
    }),
  );
}
