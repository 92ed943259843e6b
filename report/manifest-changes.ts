import { fromUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { encodeTime, type Manifest } from "../manifest/manifest.ts";
import { DEFAULT_CERTIFICATE_LIFETIME } from "../manifest/certificate-lifetime.ts";
import { REFERENCE_VALUE_KEYS } from "../manifest/reference-values.ts";
import type { Content, Pod, ReferenceValueSet } from "./generation.ts";
import { pairUp } from "./pair-up.ts";
import { valueChanges } from "./value-changes.ts";

/** What a manifest changed of the one before. */
export interface Change {
  readonly kind: "added" | "removed" | "changed";
  /** `Deployment emojivoto/web`, `reference values snp[0]`, `workload owners`. */
  readonly subject: string;
  /** The place inside, empty for the subject itself: `policy_data.containers.web.image`. */
  readonly path: string;
  /** JSON; null: there was none. */
  readonly from: string | null;
  readonly to: string | null;
}

export function manifestChanges(before: Content, after: Content): Change[] {
  const [old, now] = [before.manifest, after.manifest];
  const time = ({ notBefore }: Manifest): string | null => (notBefore === undefined ? null : encodeTime(notBefore));
  const shares = (owners: readonly Uint8Array[]): string[] => owners.map(sha256Hex);
  return [
    ...podChanges(before.pods, after.pods),
    ...REFERENCE_VALUE_KEYS.flatMap((kind) =>
      setChanges(kind, before.document.ReferenceValues[kind] ?? [], after.document.ReferenceValues[kind] ?? []),
    ),
    ...changesOf("changed", "workload owners", old.workloadOwnerKeyDigests, now.workloadOwnerKeyDigests),
    ...changesOf("changed", "workload owner threshold", old.workloadOwnerThreshold, now.workloadOwnerThreshold),
    ...changesOf("changed", "seed share owners", shares(old.seedshareOwnerPubKeys), shares(now.seedshareOwnerPubKeys)),
    ...changesOf("changed", "seed share threshold", old.seedshareThreshold, now.seedshareThreshold),
    ...changesOf("changed", "NotBefore", time(old), time(now)),
    ...changesOf("changed", "certificate lifetime", lifetimeOf(before), lifetimeOf(after)),
    ...changesOf("changed", "workload secret overlap", secretOverlapOf(before), secretOverlapOf(after)),
    ...changesOf("changed", "mesh CA overlap", overlapOf(before), overlapOf(after)),
  ];
}

function secretOverlapOf({ document }: Content): string | null {
  return document.WorkloadSecretOverlap ?? null;
}

export function lifetimeOf({ document }: Content): string {
  return document.CertificateLifetime ?? DEFAULT_CERTIFICATE_LIFETIME;
}

/** How long the mesh CA of before stays trusted; null: not at all. */
function overlapOf({ document }: Content): string | null {
  return document.MeshCAOverlap ?? null;
}

/** A pod is the same as before by its policy; if that changed, by its name. */
export function pairPods(before: readonly Pod[], after: readonly Pod[]): ReturnType<typeof pairUp<Pod>> {
  return pairUp(
    before,
    after,
    ({ hash }) => hash,
    ({ name }) => name,
  );
}

function podChanges(before: readonly Pod[], after: readonly Pod[]): Change[] {
  const { kept, added, removed } = pairPods(before, after);
  return [
    ...removed.flatMap((pod) => changesOf("removed", pod.name, granted(pod), {})),
    ...kept.flatMap(([old, now]) => {
      const view = old.hash === now.hash ? granted : whole;
      return changesOf("changed", now.name, view(old), view(now));
    }),
    ...added.flatMap((pod) => changesOf("added", pod.name, {}, granted(pod))),
  ];
}

function granted({ hash, grant }: Pod): object {
  return { policy: hash, ...grant };
}

function whole(pod: Pod): object {
  const { rules, data } = pod.policy?.generated ?? {};
  return { ...granted(pod), rules: rules && sha256Hex(fromUtf8(rules)), policy_data: data };
}

/** A set is the same as before if nothing of it changed; if something did, by the platform that it is for. */
function setChanges(kind: string, before: readonly ReferenceValueSet[], after: readonly ReferenceValueSet[]): Change[] {
  const platform = (set: ReferenceValueSet): string => JSON.stringify([set["ProductName"], set["RootDigest"]]);
  const { kept, added, removed } = pairUp(before, after, (set) => JSON.stringify(set), platform);
  const subject = (sets: readonly ReferenceValueSet[], set: ReferenceValueSet): string =>
    `reference values ${kind}[${sets.indexOf(set)}]`;
  return [
    ...removed.flatMap((set) => changesOf("removed", subject(before, set), set, {})),
    ...kept.flatMap(([old, now]) => changesOf("changed", subject(after, now), old, now)),
    ...added.flatMap((set) => changesOf("added", subject(after, set), {}, set)),
  ];
}

function changesOf(kind: Change["kind"], subject: string, before: unknown, after: unknown): Change[] {
  return valueChanges(before, after).map(({ path, from = null, to = null }) => ({ kind, subject, path, from, to }));
}
