import { z } from "zod";

/**
 * The parts of Kubernetes' resources that `generate` reads or writes. Only they are checked; the rest is nobody's
 * business here and stays as it is.
 */

const text = z.string({ error: "a string; put it into quotes" });
const optionalText = text.nullish();
const texts = z.array(text, { error: "a list of strings" }).nullish();
const flag = z.boolean({ error: "true or false" }).nullish();
const id = z.int({ error: "a whole number" }).nullish();

function object<Shape extends z.ZodRawShape>(shape: Shape): z.ZodObject<Shape, z.core.$loose> {
  return z.looseObject(shape, { error: "an object" });
}

function list<Item extends z.ZodType>(item: Item): z.ZodArray<Item> {
  return z.array(item, { error: "a list" });
}

const environmentVariable = object({ name: text, value: optionalText, valueFrom: z.unknown().optional() });
const volumeMount = object({ name: text, mountPath: text, readOnly: flag });
const volume = object({ name: text, emptyDir: object({ medium: optionalText }).nullish() });

const securityContext = object({
  privileged: flag,
  allowPrivilegeEscalation: flag,
  readOnlyRootFilesystem: flag,
  runAsUser: id,
  capabilities: object({ add: texts, drop: texts }).nullish(),
});

const container = object({
  name: text,
  image: text,
  command: texts,
  args: texts,
  workingDir: optionalText,
  tty: flag,
  restartPolicy: optionalText,
  env: list(environmentVariable).nullish(),
  volumeMounts: list(volumeMount).nullish(),
  securityContext: securityContext.nullish(),
});

const podSpec = object({
  runtimeClassName: text,
  initContainers: list(container).nullish(),
  containers: list(container).min(1, { error: "at least one container" }),
  volumes: list(volume).nullish(),
  securityContext: object({ runAsUser: id }).nullish(),
});

const annotations = z.record(z.string(), text, { error: "an object" }).nullish();

/** metadata.name and metadata.namespace name files and certificates, so they have to be what Kubernetes allows. */
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const name = text.regex(NAME, { error: "a name of lower-case letters, digits, hyphens and dots" });

export const workloadSchema = object({
  apiVersion: text,
  kind: text,
  metadata: object({ name, namespace: name.nullish(), annotations }),
});

export const podTemplateSchema = object({ metadata: object({ annotations }).nullish(), spec: podSpec });

export type Container = z.infer<typeof container>;
export type EnvironmentVariable = z.infer<typeof environmentVariable>;
export type VolumeMount = z.infer<typeof volumeMount>;
export type PodSpec = z.infer<typeof podSpec>;
export type PodTemplate = z.infer<typeof podTemplateSchema>;
