import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { AddressBlock } from "./address-block.ts";
import type { Pod } from "./pods.ts";
import { lastLines, type Processes, type Running } from "./processes.ts";

/**
 * Plays the cluster: gives every pod addresses of its own on the loopback interface and runs the containers of a pod
 * as processes, in the order in which the kubelet would: Initializer, mesh proxy, application.
 */
export interface ClusterOptions {
  readonly root: string;
  /** Where the pods have their volumes. */
  readonly directory: string;
  /** Where `generate` made the software TEEs. */
  readonly simulatedTees: string;
  readonly processes: Processes;
  readonly addresses: AddressBlock;
  readonly pods: readonly Pod[];
}

const READY_MS = 20_000;

export class Cluster {
  readonly #options: ClusterOptions;
  readonly #running = new Map<string, Running[]>();

  constructor(options: ClusterOptions) {
    this.#options = options;
  }

  get coordinator(): string {
    return this.#options.addresses.coordinator;
  }

  /** Where somebody listens that is not part of the deployment. */
  get stranger(): string {
    return this.#options.addresses.stranger;
  }

  /** Where the world reaches a pod: its mesh proxy listens there. */
  address(pod: string): string {
    return this.#options.addresses.pod(this.#index(pod));
  }

  volume(pod: string): string {
    return join(this.#options.directory, "pods", pod, "tls-config");
  }

  /** The log of a process, by its name. */
  log(process: string): string {
    return this.#options.processes.log(process);
  }

  async startCoordinator(): Promise<Running> {
    const { processes, directory, simulatedTees } = this.#options;
    const coordinator = processes.start("coordinator", ["coordinator/main.ts"], {
      CONTRAST_LISTEN_ADDRESS: this.coordinator,
      CONTRAST_STATE_DIR: join(directory, "coordinator-state"),
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: join(simulatedTees, "coordinator"),
      CONTRAST_LOG_FORMAT: "json",
    });
    await requireReady(coordinator);
    return coordinator;
  }

  async startPod(name: string): Promise<void> {
    const { processes } = this.#options;
    const pod = this.#pod(name);
    const initializer = this.startInitializer(pod, { volume: this.volume(name) });
    const code = await initializer.exited;
    if (code !== 0) throw new Error(`${initializer.name} exited with ${code}\n${await tail(initializer)}`);

    const running: Running[] = [];
    this.#running.set(name, running);
    const target = this.#options.addresses.application(this.#index(name));
    if (pod.proxy !== undefined) {
      const proxy = processes.start(`${name}-mesh-proxy`, ["--import", "./demo/cluster-dns.ts", "mesh-proxy/main.ts"], {
        ...pod.proxy.env,
        ...this.#ingress(pod, target),
        CONTRAST_TLS_CONFIG_DIR: this.volume(name),
        CONTRAST_LOG_FORMAT: "json",
        DEMO_SERVICES: this.#services(),
      });
      running.push(proxy);
      await requireReady(proxy);
    }
    const program = [...pod.application.command, ...pod.application.args].find((word) => word.endsWith(".js"));
    if (program === undefined) throw new Error(`${name}: no program in its command`);
    const application = processes.start(`${name}-application`, [program.replace(/\.js$/, ".ts")], {
      ...this.#environment(pod),
      LISTEN_ADDRESS: target,
      CONTRAST_LOG_FORMAT: "json",
    });
    running.push(application);
    await requireReady(application);
  }

  async restartPod(name: string): Promise<void> {
    const running = this.#running.get(name) ?? [];
    await Promise.all(running.map((process) => process.stop()));
    await this.startPod(name);
  }

  /** Copies key and certificates aside, as a thief would. */
  async stealVolume(name: string): Promise<string> {
    const stolen = join(this.#options.directory, "stolen", name);
    await mkdir(stolen, { recursive: true });
    for (const file of ["certChain.pem", "key.pem"]) {
      await cp(join(this.volume(name), file), join(stolen, file), { dereference: true });
    }
    return stolen;
  }

  /** The Initializer of a pod, maybe in another VM, against another Coordinator, or into another volume. */
  startInitializer(
    pod: Pod,
    changes: { volume: string; tee?: string; coordinator?: string; timeout?: string },
  ): Running {
    const tee = changes.tee ?? join(this.#options.simulatedTees, pod.name);
    return this.#options.processes.start(`${pod.name}-initializer`, ["initializer/main.ts"], {
      ...pod.initializer?.env,
      // The loopback interface is everybody's here, and nobody's to filter.
      CONTRAST_INGRESS_MODE: "bind",
      COORDINATOR_HOST: changes.coordinator ?? this.coordinator,
      CONTRAST_TLS_CONFIG_DIR: changes.volume,
      CONTRAST_SIMULATED_TEE_DIR: tee,
      CONTRAST_TIMEOUT: changes.timeout ?? "20s",
      CONTRAST_LOG_FORMAT: "json",
    });
  }

  #ingress(pod: Pod, target: string): Record<string, string> {
    const rules = pod.proxy?.env["CONTRAST_INGRESS_PROXY_CONFIG"];
    if (rules === undefined) return {};
    const ruled = new Set(rules.split("##").map((rule) => Number(rule.split("#")[1])));
    const others = pod.application.ports.map((port) => port.containerPort).filter((port) => !ruled.has(port));
    return {
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: this.address(pod.name),
      CONTRAST_INGRESS_TARGET: target,
      ...(others.length > 0 ? { CONTRAST_INGRESS_PORTS: others.join(",") } : {}),
    };
  }

  /** There is no kube-proxy here, and no mount: an application is told the address of a pod, and the volume's path. */
  #environment(pod: Pod): Record<string, string> {
    const changed = Object.entries(pod.application.env).map(([name, value]): [string, string] => {
      const to = this.#options.pods.find(({ services }) => services.has(value));
      if (to !== undefined) return [name, `${this.address(to.name)}:${to.services.get(value)}`];
      return [name, value.replace(/^\/tls-config(?=\/)/, this.volume(pod.name))];
    });
    return Object.fromEntries(changed);
  }

  #services(): string {
    return this.#options.pods.map(({ name }) => `${name}-svc=${this.address(name)}`).join(",");
  }

  #pod(name: string): Pod {
    const pod = this.#options.pods.find((candidate) => candidate.name === name);
    if (pod === undefined) throw new Error(`the deployment has no pod ${name}`);
    return pod;
  }

  #index(name: string): number {
    return 1 + this.#options.pods.findIndex((pod) => pod.name === name);
  }
}

async function requireReady(running: Running): Promise<void> {
  const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), READY_MS).unref());
  if (await Promise.race([running.ready, late])) return;
  throw new Error(`${running.name} did not get ready\n${await tail(running)}`);
}

async function tail(running: Running): Promise<string> {
  return (await lastLines(running.log, 5)).map((line) => `  ${line}`).join("\n");
}
