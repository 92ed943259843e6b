import { toHex } from "../bytes/encode.ts";
import { loweredMinimums } from "../manifest/lowered-minimums.ts";
import { isRekey } from "../manifest/history.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { conditionsOf, type Condition } from "./conditions.ts";
import type { Content, Generation, Pod } from "./generation.ts";
import { lifetimeOf, pairPods } from "./manifest-changes.ts";
import type { TimelineCode, TimelineEntry } from "./timeline-entry.ts";

export function timelineOf(history: readonly Generation[]): TimelineEntry[] {
  return history.flatMap((generation, index) => {
    const before = history.slice(0, index);
    const entries = [...unreadable(generation), ...began(before.at(-1), generation), ...changed(before, generation)];
    return entries.map((entry) => ({ generation: generation.number, ...entry }));
  });
}

type Entry = Omit<TimelineEntry, "generation">;

function unreadable({ problem }: Generation): Entry[] {
  if (problem === undefined) return [];
  return [{ level: "warning", code: "unreadable_manifest", text: `this version can't read the manifest: ${problem}` }];
}

function began(before: Generation | undefined, { content }: Generation): Condition[] {
  const known = new Set(before?.content === undefined ? [] : conditionsOf(before.content).map(({ text }) => text));
  const now = new Map(
    content === undefined ? [] : conditionsOf(content).map((condition) => [condition.text, condition]),
  );
  return [...now.values()].filter(({ text }) => !known.has(text));
}

function changed(history: readonly Generation[], generation: Generation): Entry[] {
  const { sha256, content: now } = generation;
  const before = history.at(-1);
  const rekey = before !== undefined && isRekey(before, generation);
  const entry = (code: TimelineCode, text: string): Entry => ({ level: "warning", code, text });
  const same = history.find((earlier) => earlier.sha256 === sha256);
  const again = same === undefined || before?.sha256 === sha256 ? [] : [same.number];
  const old = before?.content;
  const byNobody = old?.manifest.workloadOwnerKeyDigests.length === 0;
  return [
    ...again.map((number) =>
      entry("old_manifest", `manifest ${number} is in force again, which reverts every later change`),
    ),
    ...(byNobody ? [entry("changed_though_immutable", "the previous manifest allowed no changes")] : []),
    ...(rekey ? [entry("rekeyed", rekeyText(generation))] : []),
    ...(old === undefined || now === undefined ? [] : changedContent({ old, now, rekey }, entry)),
  ];
}

function rekeyText({ signedBy, rootKey }: Generation): string {
  return (
    `a rekey: a new seed, a new root CA (key ${rootKey}) and new workload secrets, ` +
    `which the workload ${signedBy.length === 1 ? "owner" : "owners"} ${signedBy.join(" and ")} allowed`
  );
}

function seedOf({ seedshareThreshold: threshold, seedshareOwnerPubKeys: owners }: Manifest, rekey: boolean): string {
  if (rekey) return "the seed did, too, with the rekey";
  return owners.length === 0
    ? "before, nobody had a share of the seed"
    : `the seed did not, so any ${threshold} of the ${owners.length} owners before keep it for ever`;
}

function changedContent(
  { old, now, rekey }: { readonly old: Content; readonly now: Content; readonly rekey: boolean },
  entry: (code: TimelineCode, text: string) => Entry,
): readonly Entry[] {
  const [before, after] = [old.manifest, now.manifest];
  const seedShares = ({ seedshareOwnerPubKeys: owners, seedshareThreshold: threshold }: Manifest): string =>
    JSON.stringify([owners.map((owner) => toHex(owner)).sort(), threshold]);
  const isSame = JSON.stringify(before.referenceValues) === JSON.stringify(after.referenceValues);
  const setsChanged = {
    level: "note",
    code: "changed_reference_values",
    text: "the reference values changed",
  } as const;
  return [
    ...loweredMinimums(before, after).map(({ where, from, to }) =>
      entry("lowered_minimum", `lowers ${where} from ${from} to ${to}`),
    ),
    ...raisedLifetime(old, now).map((text) => entry("longer_certificates", text)),
    ...removedPods(old.pods, now.pods).map((name) => entry("removed_pod", `${name} may no longer run`)),
    ...gone(before.workloadOwnerKeyDigests, after.workloadOwnerKeyDigests).map((digest) =>
      entry("changed_owner", `the workload owner ${digest} may no longer change the manifest`),
    ),
    ...gone(after.workloadOwnerKeyDigests, before.workloadOwnerKeyDigests).map((digest) =>
      entry("changed_owner", `another workload owner may change the manifest: ${digest}`),
    ),
    ...fewerOwners(before, after).map((text) => entry("fewer_owners_needed", text)),
    ...(seedShares(before) === seedShares(after)
      ? []
      : [
          entry(
            "changed_seed_share_owner",
            `the seed share owners or their threshold changed: ${seedOf(before, rekey)}`,
          ),
        ]),
    ...coordinatorChanges(old.pods, now.pods).map((text) => entry("changed_coordinator", text)),
    ...handedOver(old.pods, now.pods).map((text) => entry("secret_handed_over", text)),
    ...(isSame ? [] : [setsChanged]),
  ];
}

function fewerOwners({ workloadOwnerThreshold: from }: Manifest, { workloadOwnerThreshold: to }: Manifest): string[] {
  return to < from ? [`lowers how many workload owners a change needs from ${from} to ${to}`] : [];
}

/** For so much longer those who trust the root CA believe a pod that was thrown out. */
function raisedLifetime(old: Content, now: Content): string[] {
  if (now.manifest.certificateLifetimeMs <= old.manifest.certificateLifetimeMs) return [];
  return [`raises CertificateLifetime from ${lifetimeOf(old)} to ${lifetimeOf(now)}`];
}

function removedPods(before: readonly Pod[], after: readonly Pod[]): string[] {
  const left = new Set(after.map(({ name }) => name));
  return pairPods(before, after)
    .removed.map(({ name }) => name)
    .filter((name) => !left.has(name));
}

/** Who runs as Coordinator holds all secrets. */
function coordinatorChanges(before: readonly Pod[], after: readonly Pod[]): string[] {
  const hashes = (pods: readonly Pod[]) => pods.filter(({ role }) => role === "coordinator").map(({ hash }) => hash);
  const [old, now] = [hashes(before), hashes(after)];
  return [
    ...gone(now, old).map((hash) => `another policy may be the Coordinator: ${hash}`),
    ...gone(old, now).map((hash) => `a policy may no longer be the Coordinator: ${hash}`),
  ];
}

function gone(before: readonly string[], after: readonly string[]): string[] {
  return before.filter((item) => !after.includes(item));
}

/** A pod gets the secrets that only others had before. */
function handedOver(before: readonly Pod[], after: readonly Pod[]): string[] {
  const holders = Map.groupBy(before, ({ workloadSecretId }) => workloadSecretId);
  return after.flatMap(({ name, workloadSecretId: secret }) => {
    const old = secret === undefined ? [] : (holders.get(secret) ?? []).map((pod) => pod.name);
    return old.length === 0 || old.includes(name)
      ? []
      : [`${name} gets the workload secret ${JSON.stringify(secret)}, which ${[...new Set(old)].join(", ")} had`];
  });
}
