import type { FindConfig } from "../kubernetes/config-values.ts";
import type { Container, EnvironmentVariable } from "../kubernetes/pod-spec.ts";

/**
 * Variables whose values ConfigMaps and Secrets of the given files state become variables with these values, in the order
 * in which the kubelet makes them: those of `envFrom` first, `env` over them (k8s.io/kubernetes, pkg/kubelet/kubelet_pods.go,
 * makeEnvironmentVariables). What the files don't state stays a reference: the cluster chooses it.
 *
 * @param find of the pod's namespace
 */
export function withStatedConfig(container: Container, find: ConfigOf): Container {
  const sources = (container.envFrom ?? []).map((source) => ({ source, variables: variablesOf(source, find) }));
  const env = (container.env ?? []).flatMap((variable) => statedVariable(variable, find));
  return {
    ...container,
    env: [...sources.flatMap(({ variables }) => variables ?? []), ...env],
    envFrom: sources.filter(({ variables }) => variables === undefined).map(({ source }) => source),
  };
}

/** `FindConfig` with a pod's namespace in it. */
export type ConfigOf = (...reference: [Parameters<FindConfig>[0], string]) => ReturnType<FindConfig>;

type Source = NonNullable<Container["envFrom"]>[number];

/** Every kubelet takes such a name; others skip what is none, or don't. */
const NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;

/** @returns undefined where the files don't say what the variables are */
function variablesOf({ prefix, configMapRef, secretRef }: Source, find: ConfigOf): EnvironmentVariable[] | undefined {
  const [kind, reference] = configMapRef ? (["ConfigMap", configMapRef] as const) : (["Secret", secretRef] as const);
  const values = reference?.name ? find(kind, reference.name) : undefined;
  if (values === undefined) return undefined;
  const variables = [...values].map(([key, value]) => ({ name: `${prefix ?? ""}${key}`, value: verbatim(value) }));
  return variables.every(({ name }) => NAME.test(name)) ? variables : undefined;
}

/** Nothing where the kubelet makes no variable, because an optional key is missing. */
function statedVariable(variable: EnvironmentVariable, find: ConfigOf): EnvironmentVariable[] {
  // The kubelet looks at a reference only where there is no value.
  if (variable.value) return [variable];
  const { configMapKeyRef, secretKeyRef } = variable.valueFrom ?? {};
  const [kind, reference] = configMapKeyRef
    ? (["ConfigMap", configMapKeyRef] as const)
    : (["Secret", secretKeyRef] as const);
  const values = reference?.name ? find(kind, reference.name) : undefined;
  if (values === undefined || !reference?.key) return [variable];
  const value = values.get(reference.key);
  if (value !== undefined) return [{ name: variable.name, value: verbatim(value) }];
  return reference.optional === true ? [] : [variable];
}

/** The kubelet expands `$(NAME)` in values of `env`, and leaves these as they are. */
function verbatim(value: string): string {
  return value.replaceAll("$", "$$$$");
}
