import type { ImageConfig } from "../registry/resolved-image.ts";
import type { Container, PodSpec } from "../kubernetes/pod-spec.ts";
import { commandResolver } from "./environment.ts";
import { expand, type Template } from "./expansion.ts";

/**
 * What a container runs: `command` takes the place of the image's entrypoint and of its CMD, `args` that of its CMD
 * (containerd, internal/cri/opts/spec_opts.go, WithProcessArgs). Only what the resource states is expanded.
 */
export function commandOf(container: Container, pod: PodSpec, image: ImageConfig): Template[] {
  const resolve = commandResolver(container, pod, image);
  const stated = (texts: Container["command"]): Template[] => (texts ?? []).map((text) => expand(text, resolve));
  const [command, args] = [stated(container.command), stated(container.args)];
  if (command.length > 0) return [...command, ...args];
  return [...image.entrypoint, ...(args.length > 0 ? args : image.cmd)];
}

/**
 * The commands that the kubelet runs inside a container. In those of probes it expands the values of `env` as they are
 * written (ExpandContainerCommandOnlyStatic), in those of hooks nothing.
 */
export function execCommandsOf(container: Container): Template[][] {
  const values = new Map((container.env ?? []).map(({ name, value }) => [name, value ?? ""]));
  const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe].map((probe) =>
    (probe?.exec?.command ?? []).map((text) => expand(text, (name) => values.get(name))),
  );
  const hooks = [container.lifecycle?.postStart, container.lifecycle?.preStop].map((hook) => hook?.exec?.command ?? []);
  const commands = [...probes, ...hooks].filter((command) => command.length > 0);
  return [...new Map(commands.map((command) => [JSON.stringify(command), command])).values()];
}
