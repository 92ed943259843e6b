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
    / OCI\.Annotations\.(nerdctl\/network-namespace|io\.kubernetes\.cri\.sandbox-(uid|memory|log-directory)) /,
  ],
  [
    "annotations that are missing",
    / OCI\.Annotations\.(io\.katacontainers\.pkg\.oci\.bundle_path|io\.kubernetes\.cri\.image-name) removed:/,
  ],
  ["the namespace, where the resource states none", / OCI\.Annotations\.\S+\.sandbox-namespace other: "default" /],
  ["`OCI.Process.ApparmorProfile`", / OCI\.Process\.ApparmorProfile other:/],
  ["`OCI.Process.OOMScoreAdj`", / OCI\.Process\.OOMScoreAdj other:/],
  ["`OCI.Linux.CgroupsPath`", / OCI\.Linux\.CgroupsPath /],
  ["`OCI.Linux.Resources`", / OCI\.Linux\.Resources\.(CPU|Memory|HugepageLimits)[. ]/],
  ["more paths of the kernel out of reach", / OCI\.Linux\.(MaskedPaths|ReadonlyPaths)(\[10\])? /],
  ["what containerd sets of `OCI.Linux.Sysctl`", / OCI\.Linux\.Sysctl\.net\.ipv4\.(ip_unprivileged|ping)\S+ removed:/],
  ["variables of services", /\.Env\[\d+\] (other|removed): "(KUBERNETES|REDIS_MASTER)_/],
  ["variables that the cluster chooses", /\.Env\[\d+\] other: "(PASSWORD|LABEL|NODE|POD_IPS?|MEMORY|MAP_FROM_MAP)=/],
  ["variables that may be missing", /\.Env\[\d+\] removed: "(HOSTNAME|TERM|MAP_FROM_MAP)=/],
  ["the user of the sandbox", /^CreateContainerRequest of the sandbox OCI\.Process\.User\.(?!UID )/],
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
