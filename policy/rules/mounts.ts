/** Mounts, compared with those of a container's entry. */
export const MOUNTS = `# Where the mounts differ from those of the entry.
wrong_mounts(container, all) := wrong if {
	mounts := without_second(container, all)
	count({mount.destination | some mount in mounts}) == count(mounts)
	places := {mount.destination: index | some index, mount in mounts}
	missing := {destination |
		some destination in object.keys(container.mounts) - object.keys(places)
		not container.mounts[destination].optional
	}
	# One around another, if it came later, would hide it.
	hidden := {destination |
		some destination, index in places
		places[container.mounts[destination].inside] > index
	}
	others := {mount.destination | some mount in mounts; not is_wanted(container, mount)}
	wrong := sort((missing | hidden) | others)
}

# The later one hides the other.
else := ["two at one place"]

# containerd 1.6 mounts the shared memory of the sandbox twice.
without_second(container, mounts) := mounts if container.type == "container"

without_second(container, mounts) := once if {
	container.type == "sandbox"
	once := [mount | some index, mount in mounts; not is_second(mounts, index, mount)]
}

is_second(mounts, index, mount) if {
	mount.destination == "/dev/shm"
	mount in array.slice(mounts, 0, index)
}

is_wanted(container, mount) if {
	wanted := container.mounts[mount.destination]
	nothing_else(mount, {"destination", "source", "type_", "options"})
	same_options(wanted, mount.options)
	same_source(container, wanted, mount)
}

same_options(wanted, options) if options == wanted.options

else if {
	may_be_there := object.get(wanted, "optional_options", [])
	sort([option | some option in options; not option in may_be_there]) == sort(wanted.options)
}

same_source(container, wanted, mount) if {
	mount.type_ == wanted.type
	same_place(wanted.source, mount.source)
	stays_inside(mount.source)
}

same_source(container, wanted, mount) if {
	wanted.source in ["$(copied)", "$(claim)"]
	mount.type_ == "bind"
	prefix := concat("", [copies, input.container_id, "-"])
	steps := split(trim_right(mount.destination, "/"), "/")
	suffix := concat("", ["-", steps[count(steps) - 1]])
	startswith(mount.source, prefix)
	endswith(mount.source, suffix)
	is_hexadecimal(trim_suffix(trim_prefix(mount.source, prefix), suffix), 16)
}

same_source(container, wanted, mount) if {
	wanted.source == "$(claim)"
	mount.type_ == "bind"
	some storage in input.storages
	is_disk(container, storage)
	storage.mount_point == mount.source
}

same_source(container, wanted, mount) if {
	startswith(wanted.source, "$(emptyDir)/")
	mount.type_ == "bind"
	some storage in input.storages
	is_encrypted_disk(container, storage)
	storage.mount_point == mount.source
}

same_place(wanted, path) if path == wanted

# Of the pod's own folder; releases of the Kata runtimes differ in where it is.
same_place(wanted, path) if {
	startswith(wanted, "$(emptyDir)/")
	some folder in [[copies, data.pstate.vm.id, "/local/"], [copies, data.pstate.vm.id, "/rootfs/local/"], [
		copies, "passthrough/", data.pstate.vm.id, "/rootfs/local/",
	]]
	path == concat("", [concat("", folder), trim_prefix(wanted, "$(emptyDir)/")])
}
`;
