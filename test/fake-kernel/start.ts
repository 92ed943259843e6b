import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Faults, NO_FAULTS } from "./faults.ts";

/** For tests: starts the fake kernel. */
export interface FakeKernel {
  /** What CONTRAST_TSM_REPORT_DIR and CONTRAST_SEV_GUEST_DEVICE point to. */
  readonly tsmReportDir: string;
  readonly sevGuestDevice: string;
  readonly tdxGuestDevice: string;
  /** From now on only these things go wrong. */
  readonly set: (faults?: Partial<Faults>) => Promise<void>;
  /** Resolves when the next report is held back. */
  readonly holding: () => Promise<void>;
  /** Unmounts. */
  readonly stop: () => Promise<void>;
}

/** Why there can be no fake kernel here, or undefined. */
export const NO_FAKE_KERNEL =
  process.getuid?.() !== 0 ? "mounting takes root" : existsSync("/dev/fuse") ? undefined : "there is no /dev/fuse";

/** @param vmDir the directory of a VM that the software vendor launched: its reports are the ones that are given */
export async function startFakeKernel(vmDir: string): Promise<FakeKernel> {
  const mountPoint = await mkdtemp(join(tmpdir(), "fake-kernel-"));
  const child = fork(join(import.meta.dirname, "server.ts"), [mountPoint, vmDir]);
  child.setMaxListeners(0);
  const said = (wanted: string): Promise<void> =>
    new Promise((resolve, reject) => {
      child.on("message", function listener(message) {
        if (message !== wanted) return;
        child.off("message", listener);
        resolve();
      });
      child.once("exit", (code) => reject(new Error(`the fake kernel ended with ${code}`)));
    });
  await said("mounted");
  return {
    tsmReportDir: join(mountPoint, "report"),
    sevGuestDevice: join(mountPoint, "sev-guest"),
    tdxGuestDevice: join(mountPoint, "tdx_guest"),
    set: async (faults = {}) => {
      const done = said("set");
      child.send({ ...NO_FAULTS, ...faults });
      await done;
    },
    holding: () => said("holding"),
    stop: async () => {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
      await rmdir(mountPoint);
    },
  };
}
