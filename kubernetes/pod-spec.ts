import { z } from "zod";

/**
 * The parts of Kubernetes' resources that `generate` reads or writes. Only they are checked; the rest is nobody's
 * business here and stays as it is.
 */

const WANT_TEXT = "a string; put it into quotes";
const text = z.string({ error: WANT_TEXT });
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

const reference = object({ optional: flag }).nullish();
const keyReference = object({ name: optionalText, key: optionalText, optional: flag }).nullish();
const sourceReference = object({ name: optionalText, optional: flag }).nullish();
const valueFrom = object({
  fieldRef: object({ fieldPath: text }).nullish(),
  resourceFieldRef: object({}).nullish(),
  configMapKeyRef: keyReference,
  secretKeyRef: keyReference,
  fileKeyRef: reference,
});
const environmentVariable = object({ name: text, value: optionalText, valueFrom: valueFrom.nullish() });
const volumeMount = object({
  name: text,
  mountPath: text,
  readOnly: flag,
  subPath: optionalText,
  subPathExpr: optionalText,
  recursiveReadOnly: optionalText,
  mountPropagation: optionalText,
});
const volumeDevice = object({ name: text, devicePath: text });
const source = object({}).nullish();
const volume = object({
  name: text,
  emptyDir: object({ medium: optionalText }).nullish(),
  configMap: source,
  secret: source,
  downwardAPI: source,
  projected: source,
  image: source,
  hostPath: object({ path: text }).nullish(),
  persistentVolumeClaim: object({ readOnly: flag }).nullish(),
});
const port = z.union([z.string(), z.int()], { error: "a port's number or name" });
const containerPort = object({
  name: optionalText,
  containerPort: z.int({ error: "a port's number" }),
  protocol: optionalText,
});

/** What the kubelet does to a container, as a probe or as a hook. */
const action = object({
  httpGet: object({ port, host: optionalText, scheme: optionalText }).nullish(),
  tcpSocket: object({ port, host: optionalText }).nullish(),
  grpc: object({ port: z.int({ error: "a port's number" }) }).nullish(),
  exec: object({ command: texts }).nullish(),
});

const quantity = z.union([z.string(), z.number()], { error: "a quantity, like 128Mi" });
const quantities = object({ cpu: quantity.nullish(), memory: quantity.nullish() }).nullish();
const resources = object({ requests: quantities, limits: quantities, claims: list(object({})).nullish() });

const securityContext = object({
  privileged: flag,
  allowPrivilegeEscalation: flag,
  readOnlyRootFilesystem: flag,
  runAsNonRoot: flag,
  runAsUser: id,
  runAsGroup: id,
  procMount: optionalText,
  capabilities: object({ add: texts, drop: texts }).nullish(),
  seccompProfile: object({ type: optionalText }).nullish(),
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
  envFrom: list(object({ prefix: optionalText, configMapRef: sourceReference, secretRef: sourceReference })).nullish(),
  ports: list(containerPort).nullish(),
  resources: resources.nullish(),
  volumeMounts: list(volumeMount).nullish(),
  volumeDevices: list(volumeDevice).nullish(),
  terminationMessagePath: optionalText,
  securityContext: securityContext.nullish(),
  startupProbe: action.nullish(),
  readinessProbe: action.nullish(),
  livenessProbe: action.nullish(),
  lifecycle: object({ postStart: action.nullish(), preStop: action.nullish() }).nullish(),
});

const podSecurityContext = object({
  runAsNonRoot: flag,
  seccompProfile: object({ type: optionalText }).nullish(),
  runAsUser: id,
  runAsGroup: id,
  fsGroup: id,
  supplementalGroups: z.array(z.int(), { error: "a list of whole numbers" }).nullish(),
  supplementalGroupsPolicy: optionalText,
  sysctls: list(object({ name: text, value: text })).nullish(),
});

const podSpec = object({
  runtimeClassName: text,
  initContainers: list(container).nullish(),
  containers: list(container).min(1, { error: "at least one container" }),
  volumes: list(volume).nullish(),
  hostNetwork: flag,
  hostPID: flag,
  hostIPC: flag,
  hostUsers: flag,
  shareProcessNamespace: flag,
  setHostnameAsFQDN: flag,
  ephemeralContainers: list(object({})).nullish(),
  imagePullSecrets: list(object({})).nullish(),
  hostname: optionalText,
  serviceAccountName: optionalText,
  serviceAccount: optionalText,
  automountServiceAccountToken: flag,
  enableServiceLinks: flag,
  securityContext: podSecurityContext.nullish(),
  resources: resources.nullish(),
});

const annotations = z.record(z.string(), text, { error: "an object" }).nullish();

/** metadata.name and metadata.namespace name files and certificates, so they have to be what Kubernetes allows. */
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const name = z
  .string({ error: ({ input }) => (input === undefined ? "a name; generateName leaves it to the cluster" : WANT_TEXT) })
  .regex(NAME, { error: "a name of lower-case letters, digits, hyphens and dots" });

export const workloadSchema = object({
  apiVersion: text,
  kind: text,
  metadata: object({ name, namespace: name.nullish(), annotations }),
});

export const podTemplateSchema = object({ metadata: object({ annotations }).nullish(), spec: podSpec });

export type Container = z.infer<typeof container>;
export type EnvironmentVariable = z.infer<typeof environmentVariable>;
export type VolumeMount = z.infer<typeof volumeMount>;
export type Volume = z.infer<typeof volume>;
export type Action = z.infer<typeof action>;
export type PodSpec = z.infer<typeof podSpec>;
export type PodTemplate = z.infer<typeof podTemplateSchema>;

const ACTIONS = [
  ["startupProbe"],
  ["readinessProbe"],
  ["livenessProbe"],
  ["lifecycle", "postStart"],
  ["lifecycle", "preStop"],
] as const;

/** The probes and hooks of a container, each with its path in it. */
export function actionsOf(
  container: Container,
): { readonly path: (typeof ACTIONS)[number]; readonly action: Action }[] {
  return ACTIONS.flatMap((path) => {
    const action = path[0] === "lifecycle" ? container.lifecycle?.[path[1]] : container[path[0]];
    return action ? [{ path, action }] : [];
  });
}

/** Init containers first, as they run. */
export function allContainers({ initContainers, containers }: PodSpec): Container[] {
  return [...(initContainers ?? []), ...containers];
}

/** @returns the value that the resource states, which is empty where it states none; undefined: the cluster chooses it */
export function statedValue({ value, valueFrom }: EnvironmentVariable): string | undefined {
  return valueFrom ? undefined : (value ?? "");
}
