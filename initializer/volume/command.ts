import { setTimeout as delay } from "node:timers/promises";
import { type Configuration, ConfigurationError, Malformed, type Variable } from "../../runtime/environment.ts";
import { EXIT } from "../../runtime/exit.ts";
import type { Running } from "../../runtime/program.ts";
import { path } from "../../runtime/variables.ts";
import { bringUpPatiently } from "./keep-volume.ts";
import { closeMountPlace } from "./mount-place.ts";
import { Volume } from "./volume.ts";
import { readVolumeKeys } from "./volume-key.ts";

/** `initializer volume`: its variables, and what it does from its start to its end. */

const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?$/;

const name: Variable<string> = {
  help: "the name of the encrypted volume, as in the annotation contrast.edgeless.systems/secure-pv; `volume` requires it",
  unset: "",
  parse(text) {
    if (!NAME.test(text)) throw Malformed.text(text, "a name of a PersistentVolumeClaim with at most 63 characters");
    return text;
  },
};

export const volumeVariables = {
  CONTRAST_VOLUME_NAME: name,
  CONTRAST_VOLUME_DEVICE: path("/dev/contrast-volume", "the block device of the encrypted volume"),
  CONTRAST_VOLUME_MOUNT: path("/volume", "where the encrypted volume is mounted"),
} as const;

/** A tmpfs of its own, in which the superblock, the LUKS2 header and, for a moment, the key are. */
const MEMORY = "/run/contrast-volume";

export interface VolumeContext {
  /** @throws as `useFormatGrant` of grant.ts */
  readonly useFormatGrant: (volume: string) => Promise<void>;
  /** Of 0 to 1. */
  readonly random: () => number;
}

type Settings = Configuration<typeof volumeVariables> & {
  readonly CONTRAST_TLS_CONFIG_DIR: string;
  readonly CONTRAST_TIMEOUT: number | undefined;
};

/**
 * Mounts the volume and stays; takes it down when it is told to stop.
 *
 * @throws ConfigurationError, VolumeError, ChannelError, RemoteError, and whatever the TEE refuses
 */
export async function runVolume(
  { configuration, log, stop }: Pick<Running<never>, "log" | "stop"> & { readonly configuration: Settings },
  { useFormatGrant, random }: VolumeContext,
): Promise<number> {
  const volume = configuration.CONTRAST_VOLUME_NAME;
  if (volume === "") {
    throw new ConfigurationError([{ where: "CONTRAST_VOLUME_NAME", got: "nothing", want: "the volume's name" }]);
  }
  // First of all: until an owner allows a format, days may pass.
  await closeMountPlace(configuration.CONTRAST_VOLUME_MOUNT);
  const opened = new Volume({
    name: volume,
    device: configuration.CONTRAST_VOLUME_DEVICE,
    target: configuration.CONTRAST_VOLUME_MOUNT,
    memory: MEMORY,
    keys: await readVolumeKeys(configuration.CONTRAST_TLS_CONFIG_DIR, volume),
    useFormatGrant: () => useFormatGrant(volume),
    log,
  });
  const timeout = configuration.CONTRAST_TIMEOUT;
  const timeUp = timeout === undefined ? stop : AbortSignal.timeout(timeout);
  if (!(await bringUpPatiently(opened, { log, stop, timeUp, random }))) return EXIT.done;
  while (!stop.aborted) await delay(2 ** 30, undefined, { signal: stop }).catch(() => undefined);
  await opened.takeDown();
  return EXIT.done;
}
