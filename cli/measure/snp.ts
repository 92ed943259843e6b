import { createPrivateKey, type KeyObject } from "node:crypto";
import { GUEST_POLICY, isSet } from "../../attestation/snp/flags.ts";
import { collectWorkloads } from "../../kubernetes/collect-workloads.ts";
import { ResourceError } from "../../kubernetes/error.ts";
import { podPlaces } from "../../kubernetes/pod-places.ts";
import { readResourceFiles } from "../../kubernetes/resource-file.ts";
import { KATA_SHIMS, type KataShim, type KataSizing } from "../../measurement/kata-vcpus.ts";
import { parseSnpFirmware } from "../../measurement/snp/firmware.ts";
import { idKeyDigest, signIdBlock } from "../../measurement/snp/id-block.ts";
import { measureSnp } from "../../measurement/snp/measure.ts";
import { VCPU_SIGNATURES, type VcpuType } from "../../measurement/snp/vcpu-types.ts";
import type { Fault } from "../../runtime/fault.ts";
import { CliError, type Context, printResult } from "../context.ts";
import type { SnpMeasurements } from "../workspace/measurements-file.ts";
import { podVcpus } from "../workspace/pod-vcpus.ts";
import { readInput } from "../workspace/workspace.ts";
import { type InputOptions, readInputs, warnOfBoot } from "./inputs.ts";

/** The options of `contrast measure snp` as commander gives them. */
export interface SnpOptions extends InputOptions {
  readonly vcpus?: readonly number[];
  readonly pods?: readonly string[];
  readonly shim?: KataShim;
  readonly defaultVcpus: number;
  readonly overheadVcpus: number;
  readonly vcpuType: VcpuType;
  readonly vcpuSignature?: number;
  readonly guestFeatures?: bigint;
  readonly idKey?: string;
  readonly authorKey?: string;
  readonly policy?: bigint;
  readonly familyId?: Buffer;
  readonly imageId?: Buffer;
  readonly guestSvn?: number;
}

/** The only one of SEV_FEATURES that QEMU sets where it is told nothing else. */
const SNP_ACTIVE = 1n;
/** `snp_guest_policy` of Kata's configuration: SMT, and the bit that has to be one. */
const KATA_POLICY = 0x30000n;

/** @throws CliError, MeasurementError, ResourceError */
export async function measureSnpGuests(context: Context, options: SnpOptions): Promise<void> {
  const signing = await readSigning(options);
  const { shim, defaultVcpus, overheadVcpus, guestFeatures: features = SNP_ACTIVE } = options;
  const sizing: KataSizing = { shims: shim === undefined ? KATA_SHIMS : [shim], defaultVcpus, overheadVcpus };
  const pods = await podCounts(options.pods ?? [], sizing);
  const counts = new Set([...(options.vcpus ?? []), ...pods.map(({ vcpus }) => vcpus)]);
  if (counts.size === 0) {
    throw new CliError("usage", "the measurement depends on the number of vCPUs", {
      got: "neither --vcpus nor --pods",
      want: "one of them, or both",
    });
  }
  const inputs = await readInputs(options);
  const signature = options.vcpuSignature ?? VCPU_SIGNATURES[options.vcpuType];
  const measured = measureSnp(parseSnpFirmware(inputs.firmware), inputs.boot, { signature, features }, counts);
  warnOfBoot(context, inputs.boot);
  if (isSet(options.policy ?? KATA_POLICY, GUEST_POLICY.Debug)) {
    context.warn("warning: the host may debug guests with this policy; no manifest accepts them unless it says so");
  }
  const file: SnpMeasurements = {
    tee: "snp",
    inputs: inputs.digests,
    vcpuSignature: `0x${signature.toString(16)}`,
    guestFeatures: `0x${features.toString(16)}`,
    sizing: { ...sizing, shims: [...sizing.shims] },
    measurements: Array.from(measured, ([vcpus, measurement]) => ({
      vcpus,
      measurement: measurement.toString("hex"),
      ...signing?.block(measurement),
    })),
    ...signing?.digests,
  };
  if (context.format === "json") context.out(`${JSON.stringify(file, undefined, 2)}\n`);
  else printText(context, file, pods);
}

interface PodCount {
  readonly pod: string;
  readonly shim: KataShim;
  readonly vcpus: number;
}

/** @throws ResourceError invalid_resource where a pod's size does not follow */
async function podCounts(paths: readonly string[], sizing: KataSizing): Promise<readonly PodCount[]> {
  if (paths.length === 0) return [];
  const faults: Fault[] = [];
  const counts = collectWorkloads(await readResourceFiles(paths)).flatMap((workload) => {
    const pod = { workload, spec: workload.template.spec, places: podPlaces(workload) };
    const { kind, name } = workload;
    const own = podVcpus(pod, sizing, faults) ?? new Map<KataShim, number>();
    // `generate` may not have added its containers yet.
    const later = podVcpus({ ...pod, willBeLimited: true }, sizing, []) ?? new Map<KataShim, number>();
    return sizing.shims.flatMap((shim) => {
      const numbers = new Set([own, later].flatMap((counted) => counted.get(shim) ?? []));
      return Array.from(numbers, (vcpus) => ({ pod: `${kind}/${name}`, shim, vcpus }));
    });
  });
  if (faults.length === 0) return counts;
  throw new ResourceError("invalid_resource", "the size of a pod's VM does not follow from the file", faults);
}

interface Signing {
  readonly block: (measurement: Buffer) => { readonly idBlock: string; readonly idAuth: string };
  readonly digests: { readonly idKeyDigest: string; readonly authorKeyDigest?: string };
}

/** @throws CliError usage, unreadable_file, malformed_file; MeasurementError id_key_algorithm */
async function readSigning(options: SnpOptions): Promise<Signing | undefined> {
  const { idKey: idPath, authorKey: authorPath, policy, familyId, imageId, guestSvn } = options;
  if (idPath === undefined) {
    const given = {
      "--author-key": authorPath,
      "--family-id": familyId,
      "--image-id": imageId,
      "--guest-svn": guestSvn,
    };
    const alone = Object.entries(given).find(([, value]) => value !== undefined);
    if (alone === undefined) return undefined;
    throw new CliError("usage", "only an ID block has it; the measurement does not depend on it", {
      got: `${alone[0]} without --id-key`,
      want: "--id-key, too, or neither",
    });
  }
  const idKey = await readKey(idPath);
  const authorKey = authorPath === undefined ? undefined : await readKey(authorPath);
  const digests = {
    idKeyDigest: idKeyDigest(idKey, "the ID key").toString("hex"),
    ...(authorKey && { authorKeyDigest: idKeyDigest(authorKey, "the author key").toString("hex") }),
  };
  const fields = {
    familyId: familyId ?? Buffer.alloc(16),
    imageId: imageId ?? Buffer.alloc(16),
    guestSvn: guestSvn ?? 0,
    policy: policy ?? KATA_POLICY,
  };
  return {
    digests,
    block: (measurement) => {
      const { block, auth } = signIdBlock({ ...fields, measurement }, idKey, authorKey);
      return { idBlock: block.toString("base64"), idAuth: auth.toString("base64") };
    },
  };
}

async function readKey(path: string): Promise<KeyObject> {
  const pem = await readInput(path, "the key");
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    const want = "an unencrypted private key, PEM";
    throw new CliError("malformed_file", "the file is no private key", { where: path, want, cause });
  }
}

function counted(vcpus: number): string {
  return `${vcpus} vCPU${vcpus === 1 ? "" : "s"}`;
}

function printText(context: Context, file: SnpMeasurements, pods: readonly PodCount[]): void {
  printResult(context, false, {
    measurements: file.measurements.map(({ vcpus, measurement }) => `${counted(vcpus)}: ${measurement}`),
    ...(pods.length > 0 && { pods: pods.map(({ pod, shim, vcpus }) => `${pod}, ${shim}: ${counted(vcpus)}`) }),
    "ID key digest": file.idKeyDigest,
    "author key digest": file.authorKeyDigest,
    ...(file.idKeyDigest !== undefined && {
      "ID blocks": file.measurements.flatMap(({ vcpus, idBlock = "", idAuth = "" }) => [
        `${counted(vcpus)}, snp_id_block = "${idBlock}"`,
        `${counted(vcpus)}, snp_id_auth = "${idAuth}"`,
      ]),
    }),
  });
}
