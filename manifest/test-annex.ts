import type { Annex, AnnexSecret, FormatGrants, SecretVersion } from "./annex.ts";
import { workloadReader } from "./annex-names.ts";

/** Annexes for tests: sound ones, made of what matters to a test. */

/** A digest that differs for each number. */
export function digest(number: number): string {
  return number.toString(16).padStart(64, "0");
}

export function version(number: number, sealed = digest(number), readers = [workloadReader("web")]): SecretVersion {
  return { version: number, readers, sealed };
}

/** @param versions the latest first */
export function secret(latestVersion: number, ...versions: readonly SecretVersion[]): AnnexSecret {
  return { latestVersion, versions };
}

export function annexOf(
  secrets: Readonly<Record<string, AnnexSecret>> = {},
  volumes: Readonly<Record<string, Readonly<Record<string, FormatGrants>>>> = {},
): Annex {
  const inner = Object.entries(volumes).map(([id, grants]): [string, ReadonlyMap<string, FormatGrants>] => [
    id,
    new Map(Object.entries(grants)),
  ]);
  return { secrets: new Map(Object.entries(secrets)), volumes: new Map(inner) };
}
