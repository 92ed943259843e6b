import type { Fault } from "../../runtime/fault.ts";
import { quote } from "../../runtime/fault.ts";

/** A pair of the annotation `secure-pv`: `<device>:<volume>`. */
export interface SecureVolume {
  /** The name of a volume of the pod that is a claim, or of a claim template of its StatefulSet: a block device. */
  readonly device: string;
  /** The name of the pod's volume that containers mount: what is on the device, decrypted. */
  readonly volume: string;
}

const WANT = "<claim>:<volume>, the names of a block volume and of an emptyDir, with commas between several";

/**
 * As users of Edgeless Systems' Contrast write it. There it is one pair; here there may be several. Empty is none.
 *
 * @param faults what is wrong is added here, if it is given
 */
export function parseSecureVolumes(text: string, faults: Fault[] = []): SecureVolume[] {
  if (text === "") return [];
  const wrong = (got: string, want: string): void => void faults.push({ where: "", got: quote(got), want });
  const pairs = text.split(",").map((pair) => pair.trim());
  const volumes = pairs.flatMap((pair): SecureVolume[] => {
    const [device = "", volume = "", ...others] = pair.split(":");
    if (others.length === 0 && [device, volume].every((name) => NAME.test(name))) return [{ device, volume }];
    wrong(pair, WANT);
    return [];
  });
  for (const { device } of volumes) {
    if (device.length > LONGEST_DEVICE) wrong(device, `a name of at most ${LONGEST_DEVICE} characters`);
  }
  const names = volumes.flatMap(({ device, volume }) => [device, volume]);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) wrong(twice, "every name once: each disk has a volume of its own");
  return volumes;
}

/** As Kubernetes has it for the volumes of a pod (apimachinery, IsDNS1123Label). */
const NAME = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** The name of a container that has it in its own name, which has at most 63 characters. */
const PREFIX = "contrast-volume-";
const LONGEST_DEVICE = 63 - PREFIX.length;

/** The container that opens a device. */
export function volumeContainerName({ device }: SecureVolume): string {
  return PREFIX + device;
}

/** Whether a container has such a name; what it runs says whether it is ours. */
export function mayBeVolumeContainer(name: string): boolean {
  return name.startsWith(PREFIX);
}
