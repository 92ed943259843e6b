import { stringify } from "yaml";
import { type Finding, FindingsError } from "../finding.ts";
import { COORDINATOR, workspace } from "../test-workspace.ts";

/** What `generate` says of one pod, without what is about images and, unless asked for, CoCo's attestation API. */

export interface Pod {
  readonly kind?: string;
  readonly name?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Fields of the pod's spec, and of the resource's. */
  readonly spec?: object;
  readonly workload?: object;
  readonly containers?: readonly object[];
  /** Of the pod template. */
  readonly labels?: Readonly<Record<string, string>>;
  /** More files of the deployment, by their names. */
  readonly files?: Readonly<Record<string, string>>;
}

const MEMORY = { requests: { memory: "256Mi" }, limits: { memory: "256Mi" } };

/** A container that there is nothing to be said about. */
export const WEB = { name: "web", image: "web:1", command: ["web"], resources: MEMORY };

export async function findingsOf(
  {
    kind = "Deployment",
    name = "web",
    annotations = {},
    spec = {},
    workload = {},
    containers = [WEB],
    labels,
    files = {},
  }: Pod,
  options: object = {},
  codes = (code: string): boolean => !code.startsWith("image_") && code !== "attestation_api",
  about = "web.yml",
): Promise<{ readonly finding: Finding; readonly line: string }[]> {
  const named = Object.entries(annotations).map(([name, value]) => [`contrast.edgeless.systems/${name}`, value]);
  const template = {
    metadata: { annotations: Object.fromEntries(named) as object, ...(labels !== undefined && { labels }) },
    spec: { runtimeClassName: "contrast-cc", containers, ...spec },
  };
  const text = stringify({
    apiVersion: kind === "Job" ? "batch/v1" : "apps/v1",
    kind,
    metadata: { name },
    spec: { template, ...workload },
  });
  const { run, dir } = await workspace({ "web.yml": text, "coordinator.yml": COORDINATOR, ...files });
  const findings = await run(options).then(
    (result) => result.findings,
    (error: unknown) => {
      if (error instanceof FindingsError) return error.findings;
      throw error;
    },
  );
  const file = `${dir}/app/${about}:`;
  const lines = (about === "web.yml" ? text : (files[about] ?? "")).split("\n");
  return findings
    .filter(({ code, where }) => where.startsWith(file) && codes(code))
    .map((finding) => {
      const line = Number(finding.where.slice(file.length).split(":")[0]);
      return { finding, line: lines[line - 1]?.trim() ?? "" };
    });
}

/** One line for each finding, with the line of the file that it is about. */
export async function reviewed(pod: Pod, options?: object, codes?: (code: string) => boolean): Promise<string[]> {
  const findings = await findingsOf(pod, options, codes);
  return findings.map(({ finding: { severity, got, want }, line }) => `${severity} at "${line}": ${got}, want ${want}`);
}
