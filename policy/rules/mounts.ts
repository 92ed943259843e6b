/** Mounts and storages, compared with those of a container's entry. */
export const MOUNTS = `same_mounts(container, mounts) if {
	# Of two mounts at one place the later one hides the other; so does one around another that comes after it.
	count({mount.destination | some mount in mounts}) == count(mounts)
	places := {mount.destination: index | some index, mount in mounts}
	every destination, wanted in container.mounts {
		in_its_place(places, destination, wanted)
	}
	every mount in mounts {
		same_mount(container, container.mounts[mount.destination], mount)
	}
}

in_its_place(places, destination, wanted) if {
	not destination in object.keys(places)
	wanted.optional
}

in_its_place(places, destination, wanted) if {
	places[destination] >= 0
	not hidden(places, destination, wanted)
}

hidden(places, destination, wanted) if places[wanted.inside] > places[destination]

same_mount(container, wanted, mount) if {
	nothing_else(mount, ["destination", "source", "type_", "options"])
	mount.type_ == wanted.type
	sort(mount.options) == sort(wanted.options)
	same_source(container, text_of(wanted.source, created_environment), mount)
}

same_source(container, wanted, mount) if {
	same_place(wanted, mount.source)
	stays_inside(mount.source)
}

same_source(container, wanted, mount) if {
	wanted in ["$(copied)", "$(claim)"]
	prefix := concat("", [copies, input.container_id, "-"])
	steps := split(trim_right(mount.destination, "/"), "/")
	suffix := concat("", ["-", steps[count(steps) - 1]])
	startswith(mount.source, prefix)
	endswith(mount.source, suffix)
	regex.match("^[0-9a-f]{16}$", trim_suffix(trim_prefix(mount.source, prefix), suffix))
}

same_source(container, wanted, mount) if {
	wanted == "$(claim)"
	some storage in input.storages
	is_disk(container, storage)
	storage.mount_point == mount.source
}

same_place(wanted, path) if path == wanted

# Of the pod's own folder; releases of the Kata runtime differ in where it is.
same_place(wanted, path) if {
	startswith(wanted, "$(emptyDir)/")
	some folder in ["/local/", "/rootfs/local/"]
	path == concat("", [copies, data.pstate.vm.id, folder, trim_prefix(wanted, "$(emptyDir)/")])
}

# The image is pulled and checked inside the VM.
same_storages(container, storages) if {
	images := [storage | some storage in storages; storage.driver == "image_guest_pull"]
	count(images) == 1
	same_image(container, images[0])
	every wanted in container.storages {
		some storage in storages
		same_storage(wanted, storage)
	}
	every storage in storages {
		allowed_storage(container, storage)
	}
}

same_image(container, storage) if {
	nothing_else(storage, ["driver", "driver_options", "source", "fstype", "mount_point"])
	storage.source in container.image_names
	storage.fstype == "overlay"
	storage.mount_point == rootfs
	options := object.get(storage, "driver_options", [])
	count(options) <= 1
	every option in options {
		startswith(option, "image_guest_pull=")
		metadata := json.unmarshal(trim_prefix(option, "image_guest_pull=")).metadata
		# By these the agent knows the sandbox, for which it takes its own image whatever the name.
		metadata["io.kubernetes.cri.container-type"] == container.type
		not "io.kubernetes.cri-o.ContainerType" in object.keys(metadata)
	}
}

allowed_storage(container, storage) if storage.driver == "image_guest_pull"

allowed_storage(container, storage) if {
	some wanted in container.storages
	same_storage(wanted, storage)
}

allowed_storage(container, storage) if {
	is_disk(container, storage)
	some mount in input.OCI.Mounts
	mount.source == storage.mount_point
	container.mounts[mount.destination].source == "$(claim)"
}

# Memory and folders of the VM: with another source, type or place it would be a disk of the host's, or over a file.
same_storage(wanted, storage) if {
	nothing_else(storage, ["driver", "source", "fstype", "options", "mount_point"])
	storage.driver == wanted.driver
	storage.source == wanted.source
	storage.fstype == wanted.fstype
	same_place(wanted.mount_point, storage.mount_point)
	without_size(storage.options) == sort(wanted.options)
}

# What the host plugged in for a claim. Nobody vouches for what is on it, but it is a whole disk, and what the agent does
# to its files, the pod has asked for: it follows links on the disk.
is_disk(container, storage) if {
	nothing_else(storage, ["driver", "source", "fstype", "options", "mount_point", "fs_group"])
	storage.driver in ["blk", "scsi"]
	is_plugged_in(storage.source)
	storage.fstype in ["ext4", "xfs"]
	regex.match("^/run/kata-containers/sandbox/storage/[A-Za-z0-9_-]+=*$", storage.mount_point)
	every option in storage.options {
		option in ["rbind", "rprivate", "rw", "ro", "nouuid"]
	}
	allowed_owner(container, object.get(storage, "fs_group", null))
}

# At a slot of PCI, an address of SCSI, or by its name in the VM. Others, such as one that a program has decrypted, are not
# the host's.
is_plugged_in(place) if regex.match("^([0-9a-f]{2}([.][0-7])?(/[0-9a-f]{2}([.][0-7])?)*|[0-9]+:[0-9]+|/dev/(vd|sd)[a-z]+)$", place)

allowed_owner(container, owner) if owner == null

allowed_owner(container, owner) if {
	nothing_else(owner, ["group_id", "group_change_policy"])
	owner.group_id == container.fs_group
}
`;
