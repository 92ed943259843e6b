import type { Change } from "./test-changes.ts";

/**
 * What a policy passes over: the words of docs/policies.md, which has the reasons, and the changes that are meant. A
 * change is written as `<kind> <path> <how>: <from> -> <to>`.
 */
export const IGNORED: ReadonlyMap<string, RegExp> = new Map([
  ["the host name, before a container", /^CreateSandboxRequest hostname /],
  ["name servers", /^CreateSandboxRequest dns(\[\d\])? /],
  ["the size of shared memory, or that there is none", /^CreateSandboxRequest storages\[0\](\.options(\[4\])?)? /],
  ["`exec_id`", /^ExecProcessRequest exec_id /],
  [
    "the order of a list",
    /(Env|AdditionalGids|Bounding|Effective|Permitted|Namespaces|MaskedPaths|ReadonlyPaths|options|storages) reversed:/,
  ],
  ["`OCI.Version`", / OCI\.Version /],
  [
    "annotations that only describe",
    / OCI\.Annotations\.(nerdctl\/network-namespace|io\.kubernetes\.cri\.sandbox-(uid|memory|cpu-\w+|log-directory)) /,
  ],
  [
    "annotations that are missing",
    / OCI\.Annotations\.(io\.katacontainers\.pkg\.oci\.bundle_path|io\.kubernetes\.cri\.image-name) removed:/,
  ],
  ["the namespace, where the resource states none", / OCI\.Annotations\.\S+\.sandbox-namespace other: "default" /],
  ["`OCI.Process.ApparmorProfile`", / (OCI\.P|p)rocess\.ApparmorProfile other:/],
  ["`OCI.Process.OOMScoreAdj`", / (OCI\.P|p)rocess\.OOMScoreAdj other:/],
  ["`OCI.Linux.CgroupsPath`", / OCI\.Linux\.CgroupsPath /],
  ["`OCI.Linux.Resources`", / OCI\.Linux\.Resources\.(CPU|Memory|HugepageLimits)[. ]/],
  [
    "more paths of the kernel out of reach",
    / OCI\.Linux\.(MaskedPaths|ReadonlyPaths)( added:|\[\d+\] (other|removed): "\/(proc\/interrupts|sys\/devices))/,
  ],
  ["what containerd sets of `OCI.Linux.Sysctl`", / OCI\.Linux\.Sysctl\.net\.ipv4\.(ip_unprivileged|ping)\S+ removed:/],
  ["variables of services", /\.Env\[\d+\] (other|removed): "[A-Z_]+_(SERVICE_|PORT[=_])/],
  ["variables that the cluster chooses", /\.Env\[\d+\] other: "(PASSWORD|LABEL|NODE|POD_IPS?|MEMORY|MAP_FROM_MAP)=/],
  ["variables that may be missing", /\.Env\[\d+\] removed: "(HOSTNAME|TERM|MAP_FROM_MAP)=/],
  ["the second mount of the sandbox's shared memory", / of the sandbox OCI\.Mounts\[[36]\] removed: .*"\/dev\/shm"/],
  [
    "the user of the sandbox",
    /^CreateContainerRequest of the sandbox OCI\.Process\.User\.(?!UID (?!other: 65535 -> 0))/,
  ],
  ["the search path of the sandbox", / of the sandbox OCI\.Process\.Env\[0\] removed: "PATH=/],
  [
    "options of the sandbox's `/etc/resolv.conf`",
    / of the sandbox OCI\.Mounts\[6\]\.options(\[\d\] removed: "no(suid|dev|exec)"| added: .*"noexec"\])/,
  ],
  ["whether a container has cgroups of its own to see", / OCI\.Linux\.Namespaces\[3\] removed: .*"cgroup"/],
  [
    "options of cgroups of a privileged container",
    / OCI\.Mounts\[5\]\.options(\[\d\] removed: "(nsdelegate|memory_recursiveprot)"| added: .*"memory_recursiveprot"\])/,
  ],
  ["groups from the image", /\.User\.(GID other|AdditionalGids(\[\d\])? (other|added|removed)):/],
  ["a copy of the service account's token", / OCI\.Mounts\[\d+\] removed: .*"\/var\/run\/secrets\//],
  ["the storage of a volume once more", /^CreateContainerRequest storages(\[[12]\])? (added|removed): /],
  ["what goes with the name of the image", / storages\[0\]\.driver_options\[0\] removed:/],
  [
    "where and how a disk was plugged in",
    / (storages\[4\]|devices\[0\]|OCI\.Linux\.Devices\[0\])\.(?!driver |fstype |mount_point |type_ |Type )/,
  ],
  [
    "the network",
    /^(UpdateInterfaceRequest interface\.(device|name|mtu|type_|IPAddresses)|UpdateRoutesRequest routes\.Routes|AddARPNeighborsRequest neighbors\.ARPNeighbors)(?!.*unknown)/,
  ],
  [
    "what is in a copy",
    /^CopyFileRequest (path|symlink_target|file_size|file_mode|dir_mode|uid|gid|offset) other: (?!null)/,
  ],
]);

/** @returns the words for a change of a request; undefined: nothing passes over it */
export function ignoredAs(
  { kind, what }: { readonly kind: string; readonly what: string },
  change: Change,
): string | undefined {
  const text = `${kind}${what === "create " ? " of the sandbox" : ""} ${describeChange(change)}`;
  const [found] = [...IGNORED].find(([, pattern]) => pattern.test(text)) ?? [];
  return found;
}

export function describeChange({ path, how, from, to }: Change): string {
  return `${path} ${how}: ${JSON.stringify(from)} -> ${JSON.stringify(to)}`;
}
