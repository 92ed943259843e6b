/** What a container is made with, compared with its entry. */
export const CONTAINER = `# What is compared, by the names of the fields of the request. A refusal has them.
compared := [
	"fields", "exec_id", "sandbox_pidns", "OCI", "OCI.Hostname", "OCI.Annotations", "OCI.Root", "OCI.Process",
	"OCI.Process.Args", "OCI.Process.Terminal", "OCI.Process.Cwd", "OCI.Process.User", "OCI.Process.NoNewPrivileges",
	"OCI.Process.Env", "OCI.Process.Capabilities", "OCI.Linux", "OCI.Linux.CgroupsPath", "OCI.Linux.Resources",
	"OCI.Linux.Namespaces", "OCI.Linux.Sysctl", "OCI.Linux.MaskedPaths", "devices", "OCI.Mounts", "storages",
]

same_container(container, pod) if {
	every field in compared {
		same(field, container, pod)
	}
}

same("fields", container, pod) if nothing_else(input, {
	"container_id", "exec_id", "OCI", "storages", "devices", "sandbox_pidns",
})

same("exec_id", container, pod) if object.get(input, "exec_id", "") in ["", input.container_id]

same("sandbox_pidns", container, pod) if object.get(input, "sandbox_pidns", false) == container.shared_pid

same("OCI", container, pod) if nothing_else(input.OCI, {
	"Version", "Process", "Root", "Hostname", "Mounts", "Annotations", "Linux",
})

same("OCI.Hostname", container, pod) if object.get(input.OCI, "Hostname", "") in {"", hostname(pod)}

same("OCI.Annotations", container, pod) if {
	every key, value in input.OCI.Annotations {
		allowed_annotation(key, value)
	}
}

same("OCI.Root", container, pod) if {
	nothing_else(input.OCI.Root, {"Path", "Readonly"})
	input.OCI.Root.Path == rootfs
	input.OCI.Root.Readonly == container.read_only_root
}

same("OCI.Process", container, pod) if nothing_else(input.OCI.Process, {
	"Terminal", "Args", "Env", "Cwd", "User", "NoNewPrivileges", "Capabilities", "ApparmorProfile", "OOMScoreAdj",
})

same("OCI.Process.Args", container, pod) if {
	input.OCI.Process.Args == [text_of(part, created_environment) | some part in container.command]
}

same("OCI.Process.Terminal", container, pod) if object.get(input.OCI.Process, "Terminal", false) == container.terminal

same("OCI.Process.Cwd", container, pod) if input.OCI.Process.Cwd == container.cwd

same("OCI.Process.User", container, pod) if same_user(container, input.OCI.Process.User)

same("OCI.Process.NoNewPrivileges", container, pod) if {
	input.OCI.Process.NoNewPrivileges == container.no_new_privileges
}

same("OCI.Process.Env", container, pod) if wrong_variables(container, pod, created_environment) == []

same("OCI.Process.Capabilities", container, pod) if same_capabilities(container, input.OCI.Process.Capabilities)

same("OCI.Linux", container, pod) if {
	nothing_else(input.OCI.Linux, {
		"Sysctl", "Resources", "CgroupsPath", "Namespaces", "Devices", "MaskedPaths", "ReadonlyPaths",
		"RootfsPropagation",
	})
	object.get(input.OCI.Linux, "RootfsPropagation", "") == container.mount_propagation
}

same("OCI.Linux.CgroupsPath", container, pod) if own_cgroup(object.get(input.OCI.Linux, "CgroupsPath", ""))

# Of what the host limits, nothing gives a right but devices.
same("OCI.Linux.Resources", container, pod) if {
	nothing_else(object.get(input.OCI.Linux, "Resources", {}), {"CPU", "Memory", "HugepageLimits"})
}

same("OCI.Linux.Namespaces", container, pod) if same_namespaces(container, input.OCI.Linux.Namespaces)

same("OCI.Linux.Sysctl", container, pod) if same_sysctls(container, object.get(input.OCI.Linux, "Sysctl", {}))

same("OCI.Linux.MaskedPaths", container, pod) if {
	masked(container, object.get(input.OCI.Linux, "MaskedPaths", []), object.get(input.OCI.Linux, "ReadonlyPaths", []))
}

same("devices", container, pod) if same_devices(container)

same("OCI.Mounts", container, pod) if wrong_mounts(container, input.OCI.Mounts) == []

same("storages", container, pod) if same_storages(container, object.get(input, "storages", []))

# Others may mean something to the agent, such as devices to put into the container.
allowed_annotation(key, value) if startswith(key, "io.kubernetes.cri.")

allowed_annotation(key, value) if startswith(key, "io.katacontainers.config.")

allowed_annotation(key, value) if key in ["io.katacontainers.pkg.oci.container_type", "nerdctl/network-namespace"]

allowed_annotation(key, value) if {
	key == "io.katacontainers.pkg.oci.bundle_path"
	startswith(value, "/")
	endswith(value, concat("", ["/", input.container_id]))
}

rootfs := concat("", ["/run/kata-containers/", input.container_id, "/rootfs"])

same_user(container, user) if {
	container.type == "container"
	nothing_else(user, {"UID", "GID", "AdditionalGids"})
	user.UID == container.user
	user.GID in container.groups
	groups := object.get(user, "AdditionalGids", [])
	count({group | some group in groups}) == count(groups)
	every group in container.additional_groups {
		group in groups
	}
	every group in groups {
		allowed_group(container, user, group)
	}
}

# The agent takes the user of its own image. Here it is the host's, which may state none.
same_user(container, user) if {
	container.type == "sandbox"
	user.UID in container.users
}

allowed_group(container, user, group) if group == user.GID

allowed_group(container, user, group) if group in container.additional_groups

# Distributions put root into some of their groups, which have numbers below 100.
allowed_group(container, user, group) if {
	container.system_groups
	is_number(group)
	group < 100
}

# Not every runtime writes CAP_ before their names.
same_capabilities(container, capabilities) if {
	nothing_else(capabilities, {"Bounding", "Effective", "Permitted"})
	every kind in ["Bounding", "Effective", "Permitted"] {
		names := [concat("", ["CAP_", trim_prefix(name, "CAP_")]) | some name in capabilities[kind]]
		count(names) == count(capabilities[kind])
		sort(names) == container.capabilities
	}
}

# A path would be a namespace that somebody else has made. A new one for cgroups only narrows what the container sees.
same_namespaces(container, namespaces) if {
	every namespace in namespaces {
		nothing_else(namespace, {"Type"})
	}
	types := [object.get(namespace_names, namespace.Type, namespace.Type) | some namespace in namespaces]
	count({type | some type in types}) == count(types)
	sort([type | some type in types; type != "cgroup"]) == container.namespaces
}

# Not every runtime has the same name for one.
namespace_names := {"mnt": "mount"}

# One of its own: what runs in the same one has the same right to devices, and ends with it.
own_cgroup(path) if {
	regex.match("^[A-Za-z0-9_.:/-]+$", path)
	stays_inside(path)
	regex.match(concat("", ["[:/]", input.container_id, "$"]), path)
}

same_sysctls(container, sysctls) if {
	every name, value in container.sysctls {
		sysctls[name] == value
	}
	every name, value in sysctls {
		object.union(added_sysctls, container.sysctls)[name] == value
	}
}

# By containerd, so that programs need no rights for low ports and for ping.
added_sysctls := {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}

# More of the kernel's files may be out of reach than these, but no file of the program.
masked(container, hidden, read_only) if {
	every path in array.concat(hidden, read_only) {
		is_of_kernel(path)
		stays_inside(path)
	}
	unmasked := {path | container.masked_paths; some path in hidden_paths} - {path | some path in hidden}
	writable := {path | container.masked_paths; some path in read_only_paths} - {path | some path in read_only}
	count(unmasked | (writable - {path | some path in hidden})) == 0
}

is_of_kernel(path) if startswith(path, "/proc/")

is_of_kernel(path) if startswith(path, "/sys/")

hidden_paths := [
	"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
	"/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
]

read_only_paths := ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

# The disks of a volumeDevice, at the paths that the resource states.
same_devices(container) if {
	plugged_in := object.get(input, "devices", [])
	every device in plugged_in {
		nothing_else(device, {"id", "type_", "vm_path", "container_path"})
		device.type_ in ["blk", "scsi"]
		is_plugged_in(device.id)
		regex.match("^(/dev/(vd|sd)[a-z]+)?$", object.get(device, "vm_path", ""))
	}
	sort([device.container_path | some device in plugged_in]) == sort(container.devices)
	nodes := object.get(input.OCI.Linux, "Devices", [])
	every node in nodes {
		node.Type == "b"
	}
	sort([node.Path | some node in nodes]) == sort(container.devices)
}
`;
