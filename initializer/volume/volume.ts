import { chmod, mkdir, open, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { RemoteError } from "../../channel/error.ts";
import type { Logger } from "../../runtime/log.ts";
import type { ReadSectors } from "./block-zero.ts";
import { VolumeError } from "./error.ts";
import { type Finding, inspect } from "./inspect.ts";
import { blockDeviceNumber, mount, SystemCallError, unmount } from "./kernel.ts";
import { providedSectors, SECTOR } from "./layout.ts";
import { Mappings } from "./mappings.ts";
import { readMount } from "./mounts.ts";
import type { VolumeKey } from "./volume-key.ts";

/** An encrypted volume on a disk that somebody else has: opens it, or formats it if an owner allows that. */
export interface VolumeOptions {
  /** As it is in the key and in the grant. */
  readonly name: string;
  /** A block device. */
  readonly device: string;
  /** Where it is mounted. */
  readonly target: string;
  /** A folder for what must be in the guest's memory. */
  readonly memory: string;
  /** The likeliest first; at least one. */
  readonly keys: readonly VolumeKey[];
  /**
   * Uses up one leave to format. It resolves only when that is recorded.
   *
   * @throws RemoteError no_format_grant, and whatever keeps it from asking
   */
  readonly useFormatGrant: () => Promise<void>;
  readonly log: Logger;
}

/** What mount(2) says where the blocks of a file system are not authentic, or are not what they have to be. */
const DAMAGED: ReadonlySet<string> = new Set(["EIO", "EILSEQ", "EINVAL", "EUCLEAN", "EBADMSG"]);

/** On an error of a block, the file system is read only from then on. */
const MOUNT_OPTIONS = "errors=remount-ro";

/** How often a busy volume is unmounted anew, and after how many milliseconds. */
const UNMOUNT_TRIES = 20;
const UNMOUNT_MS = 250;

export class Volume {
  readonly #options: VolumeOptions;
  readonly #mappings: Mappings;

  constructor(options: VolumeOptions) {
    this.#options = options;
    this.#mappings = new Mappings(options.name, options.device, options.memory);
  }

  /**
   * One try to have the volume mounted. Before there is a grant, a disk that is no volume is only read.
   *
   * @throws VolumeError; RemoteError, ChannelError and whatever the TEE refuses where there was a grant to ask for
   */
  async bringUp(): Promise<void> {
    const { target, name, log } = this.#options;
    if (await this.#isMounted()) {
      log.info({ volume: name, target }, "the volume is mounted: an earlier container of this pod did it");
      return;
    }
    // What is open and not mounted may be half of a format. Only what is in use was mounted before, and is mounted once more.
    if (!(await this.#mappings.close())) {
      await this.#mappings.showNode();
      await this.#mount();
      log.info({ volume: name, target }, "the volume is mounted: an earlier container of this pod had opened it");
      return;
    }
    const disk = await diskSectors(this.#options.device);
    const finding = await this.#inspect(disk);
    const obstacle = finding.kind === "volume" ? await this.#open(finding) : refusal(finding, this.#options);
    if (obstacle === undefined) return;
    await this.#format(disk, obstacle);
  }

  /** Unmounts and closes it, when all is written. @throws VolumeError volume_busy, volume_tool_failed */
  async takeDown(): Promise<void> {
    const { target, log, name } = this.#options;
    for (let tries = 1; await this.#isMounted(); tries++) {
      try {
        await unmount(target);
      } catch (error) {
        if (!(error instanceof SystemCallError) || error.code !== "EBUSY") throw error;
        if (tries === UNMOUNT_TRIES) {
          throw new VolumeError("volume_busy", "the volume is in use and stays open", {
            where: target,
            hint: "stop what has files open on it; its journal keeps what is written until then",
            cause: error,
          });
        }
        await delay(UNMOUNT_MS);
      }
    }
    if (!(await this.#mappings.close())) {
      throw new VolumeError("volume_busy", "another container of this pod uses the volume, which stays open", {
        where: target,
        hint: "nothing is lost: what is written until then is on the disk, or in its journal",
      });
    }
    log.info({ volume: name }, "the volume is closed");
  }

  async #isMounted(): Promise<boolean> {
    return (await readMount(this.#options.target))?.source === this.#mappings.path;
  }

  async #inspect(disk: number): Promise<Finding> {
    const file = await open(this.#options.device, "r");
    const read: ReadSectors = async (sector, count) => {
      const bytes = Buffer.alloc(count * SECTOR);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, sector * SECTOR);
      if (bytesRead < bytes.length) throw new Error(`${this.#options.device} ends at ${sector * SECTOR + bytesRead}`);
      return bytes;
    };
    try {
      return await inspect(read, disk, this.#options.keys);
    } finally {
      await file.close();
    }
  }

  /** @returns why it can't be mounted, where that is because of what is on the disk */
  async #open({ key, provided }: Extract<Finding, { kind: "volume" }>): Promise<VolumeError | undefined> {
    const { log, name, keys } = this.#options;
    await this.#mappings.open(key, provided);
    try {
      await this.#mount();
    } catch (error) {
      await this.#mappings.close();
      if (!(error instanceof SystemCallError) || !DAMAGED.has(error.code)) throw error;
      const found = { where: "mount", got: error.code, want: "an undamaged ext4" };
      return unreadable(this.#options, found, "the volume is damaged");
    }
    log.info({ volume: name, secret: key.version, bytes: provided * SECTOR }, "the volume is mounted");
    if (key !== keys[0]) {
      log.warn(
        { volume: name, secret: key.version, latest: keys[0]?.version },
        "the volume has the key of a workload secret of before a rekey: copy its files to a new volume while the Coordinator still gives that secret",
      );
    }
    return undefined;
  }

  async #format(disk: number, obstacle: VolumeError): Promise<void> {
    const { useFormatGrant, keys, log, name } = this.#options;
    const [key] = keys;
    if (key === undefined) throw new RangeError("a volume needs a key");
    try {
      await useFormatGrant();
    } catch (error) {
      if (error instanceof RemoteError && error.code === "no_format_grant") throw obstacle;
      throw error;
    }
    log.warn(
      { volume: name, found: obstacle.code },
      "formatting the disk: an owner allowed it, and that leave is used up",
    );
    await this.#mappings.format(key, providedSectors(disk));
    await this.#mount();
    await this.#makeHandy();
    log.info({ volume: name }, "the volume is formatted and mounted");
  }

  async #mount(): Promise<void> {
    await mkdir(this.#options.target, { recursive: true });
    await mount(this.#mappings.path, this.#options.target, "ext4", MOUNT_OPTIONS);
  }

  /** As an emptyDir is: for whoever runs the application, and empty. */
  async #makeHandy(): Promise<void> {
    await chmod(this.#options.target, 0o777);
    await rmdir(join(this.#options.target, "lost+found"));
  }
}

/** @returns sectors */
async function diskSectors(device: string): Promise<number> {
  const number = await blockDeviceNumber(device);
  return Number((await readFile(`/sys/dev/block/${number}/size`, "utf8")).trim());
}

function refusal(finding: Exclude<Finding, { kind: "volume" }>, options: VolumeOptions): VolumeError {
  if (finding.kind === "unreadable") return unreadable(options, finding);
  return new VolumeError("volume_not_formatted", "the disk is empty, and no owner allows to format it", {
    where: `volume ${options.name}, ${options.device}`,
    got: "zeros",
    hint: `where that is right, an owner runs: contrast volume allow-format ${options.name} --for <WorkloadSecretID>; else somebody took the volume away`,
  });
}

function unreadable(
  { name, device }: VolumeOptions,
  { where, got, want }: { readonly where: string; readonly got: string; readonly want: string },
  message = "the disk holds no volume of this workload, and nothing was written",
): VolumeError {
  return new VolumeError("volume_unreadable", message, {
    where: `volume ${name}, ${device}, ${where}`,
    got,
    want,
    hint: `attach the right disk; to give up what is on this one, an owner runs: contrast volume allow-format ${name} --for <WorkloadSecretID>`,
  });
}
