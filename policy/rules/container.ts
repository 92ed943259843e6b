/** What a container is made with, compared with its entry. */
export const CONTAINER = `same_container(container, pod) if {
	nothing_else(input, ["container_id", "exec_id", "OCI", "storages", "devices", "sandbox_pidns"])
	nothing_else(input.OCI, ["Version", "Process", "Root", "Hostname", "Mounts", "Annotations", "Linux"])
	object.get(input, "exec_id", "") in ["", input.container_id]
	object.get(input, "sandbox_pidns", false) == container.shared_pid
	object.get(input.OCI, "Hostname", "") in {"", hostname(pod)}
	every key, value in input.OCI.Annotations {
		allowed_annotation(key, value)
	}
	same_root(container, input.OCI.Root)
	same_process(container, pod, input.OCI.Process)
	same_linux(container, input.OCI.Linux)
	same_devices(container)
	same_mounts(container, input.OCI.Mounts)
	same_storages(container, object.get(input, "storages", []))
}

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

same_root(container, root) if {
	nothing_else(root, ["Path", "Readonly"])
	root.Path == rootfs
	root.Readonly == container.read_only_root
}

same_process(container, pod, process) if {
	nothing_else(process, [
		"Terminal", "Args", "Env", "Cwd", "User", "NoNewPrivileges", "Capabilities",
		"ApparmorProfile", "OOMScoreAdj",
	])
	process.Args == [text_of(part, created_environment) | some part in container.command]
	object.get(process, "Terminal", false) == container.terminal
	same_surroundings(container, pod, process)
	same_capabilities(container, process.Capabilities)
}

same_surroundings(container, pod, process) if {
	process.Cwd == container.cwd
	process.NoNewPrivileges == container.no_new_privileges
	same_user(container, process.User)
	same_environment(container, pod, process)
}

same_user(container, user) if {
	container.type == "container"
	nothing_else(user, ["UID", "GID", "AdditionalGids"])
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

# The agent takes the user of its own image.
same_user(container, user) if {
	container.type == "sandbox"
	user.UID == container.user
}

allowed_group(container, user, group) if group == user.GID

allowed_group(container, user, group) if group in container.additional_groups

# Distributions put root into some of their groups, which have numbers below 100.
allowed_group(container, user, group) if {
	container.system_groups
	is_number(group)
	group < 100
}

same_capabilities(container, capabilities) if {
	nothing_else(capabilities, ["Bounding", "Effective", "Permitted"])
	every kind in ["Bounding", "Effective", "Permitted"] {
		sort(capabilities[kind]) == container.capabilities
	}
}

same_linux(container, linux) if {
	nothing_else(linux, [
		"Sysctl", "Resources", "CgroupsPath", "Namespaces", "Devices", "MaskedPaths", "ReadonlyPaths",
		"RootfsPropagation",
	])
	object.get(linux, "RootfsPropagation", "") == container.mount_propagation
	own_cgroup(object.get(linux, "CgroupsPath", ""))
	# Of what the host limits, nothing gives a right but devices.
	nothing_else(object.get(linux, "Resources", {}), ["CPU", "Memory", "HugepageLimits"])
	# A path would be a namespace that somebody else has made.
	every namespace in linux.Namespaces {
		nothing_else(namespace, ["Type"])
	}
	sort([namespace.Type | some namespace in linux.Namespaces]) == container.namespaces
	same_sysctls(container, object.get(linux, "Sysctl", {}))
	masked(container, object.get(linux, "MaskedPaths", []), object.get(linux, "ReadonlyPaths", []))
}

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
		regex.match("^/(proc|sys)/", path)
		stays_inside(path)
	}
	every path in [path | container.masked_paths; some path in hidden_paths] {
		path in hidden
	}
	every path in [path | container.masked_paths; some path in read_only_paths] {
		path in array.concat(hidden, read_only)
	}
}

hidden_paths := [
	"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
	"/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
]

read_only_paths := ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

# The disks of a volumeDevice, at the paths that the resource states.
same_devices(container) if {
	plugged_in := object.get(input, "devices", [])
	every device in plugged_in {
		nothing_else(device, ["id", "type_", "vm_path", "container_path"])
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
