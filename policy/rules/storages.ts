/** What the agent makes and mounts before a container, compared with the container's entry. */
export const STORAGES = `same_storages(container, storages) if {
	# The image is pulled and checked inside the VM.
	images := [storage | some storage in storages; storage.driver == "image_guest_pull"]
	count(images) == 1
	same_image(container, images[0])
	every wanted in container.storages {
		is_made(container, wanted, storages)
	}
	every storage in storages {
		allowed_storage(container, storage)
	}
	are_own_disks(disks_of(container))
}

same_image(container, storage) if {
	nothing_else(storage, {"driver", "driver_options", "source", "fstype", "mount_point"})
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

is_made(container, wanted, storages) if {
	some storage in storages
	same_storage(wanted, storage)
}

is_made(container, wanted, storages) if {
	some storage in storages
	is_encrypted_disk(container, storage)
	wanted.mount_point in owners_of(container, storage)
}

allowed_storage(container, storage) if storage.driver == "image_guest_pull"

allowed_storage(container, storage) if {
	some wanted in container.storages
	same_storage(wanted, storage)
}

allowed_storage(container, storage) if {
	is_disk(container, storage)
	owners_of(container, storage) == {"$(claim)"}
}

allowed_storage(container, storage) if {
	is_encrypted_disk(container, storage)
	owners := owners_of(container, storage)
	count(owners) == 1
	every owner in owners {
		startswith(owner, "$(emptyDir)/")
	}
}

# Memory and folders of the VM: with another source, type or place it would be a disk of the host's, or over a file.
same_storage(wanted, storage) if {
	nothing_else(storage, {"driver", "source", "fstype", "options", "mount_point"})
	storage.driver == wanted.driver
	storage.source == wanted.source
	storage.fstype == wanted.fstype
	same_place(wanted.mount_point, storage.mount_point)
	without_size(storage.options) == sort(wanted.options)
}

# What the host plugged in for a claim. Nobody vouches for what is on it, but it is a whole disk, and what the agent does
# to its files, the pod has asked for: it follows links on the disk.
is_disk(container, storage) if {
	nothing_else(storage, {"driver", "source", "fstype", "options", "mount_point", "fs_group"})
	storage.driver in ["blk", "scsi"]
	is_plugged_in(storage.source)
	storage.fstype in ["ext4", "xfs"]
	regex.match("^/run/kata-containers/sandbox/storage/[A-Za-z0-9_-]+=*$", storage.mount_point)
	every option in storage.options {
		option in ["rbind", "rprivate", "rw", "ro", "nouuid"]
	}
	allowed_owner(container, object.get(storage, "fs_group", null))
}

# For an emptyDir: the agent makes a new file system on it, under a key that it makes itself and tells nobody.
is_encrypted_disk(container, storage) if {
	nothing_else(storage, {"driver", "driver_options", "source", "fstype", "mount_point", "fs_group", "shared"})
	storage.driver in ["blk", "scsi"]
	sort(storage.driver_options) == ["create_filesystem", "encryption_key=ephemeral"]
	is_plugged_in(storage.source)
	storage.fstype == "ext4"
	storage.shared
	storage.mount_point == concat("", [disks, base64url.encode(storage.source)])
	allowed_owner(container, object.get(storage, "fs_group", null))
}

disks := "/run/kata-containers/sandbox/storage/"

# Of a disk: the volumes by which the container mounts it.
owners_of(container, storage) := owners if {
	owners := {container.mounts[mount.destination].source |
		some mount in input.OCI.Mounts
		mount.source == storage.mount_point
	}
}

# The volumes of the disks of a request, by what the agent remembers of them.
disks_of(container) := found if {
	found := {{"key": concat("", ["disk:", trim_prefix(storage.mount_point, disks)]), "owner": owner} |
		some storage in object.get(input, "storages", [])
		startswith(storage.mount_point, disks)
		some owner in owners_of(container, storage)
	}
}

# The agent mounts the first disk that it is given for a place, and no other there. So a place has one volume for good, and
# an emptyDir has one place: its disk is neither one that the host has written, nor that of another volume.
are_own_disks(found) if {
	known := {{"key": key, "owner": owner} | some key, owner in data.pstate; startswith(key, "disk:")}
	every disk in found {
		every other in known | found {
			is_compatible(disk, other)
		}
	}
}

is_compatible(disk, other) if disk == other

is_compatible(disk, other) if {
	disk.key != other.key
	disk.owner != other.owner
}

# A claim may be plugged in somewhere else the next time, and there may be several.
is_compatible(disk, other) if {
	disk.key != other.key
	disk.owner == "$(claim)"
}

# At a slot of PCI, an address of SCSI, or by its name in the VM. Others, such as one that a program has decrypted, are not
# the host's.
is_plugged_in(place) if regex.match("^([0-9a-f]{2}([.][0-7])?(/[0-9a-f]{2}([.][0-7])?)*|[0-9]+:[0-9]+|/dev/(vd|sd)[a-z]+)$", place)

allowed_owner(container, owner) if owner == null

allowed_owner(container, owner) if {
	nothing_else(owner, {"group_id", "group_change_policy"})
	owner.group_id == container.fs_group
	object.get(owner, "group_change_policy", 0) in ["Always", "OnRootMismatch", 0, 1]
}
`;
