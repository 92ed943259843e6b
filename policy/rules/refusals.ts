/** Why a request is refused: one line, which the agent adds to its answer. It never has the value of a variable. */
export const REFUSALS = `refused(why) := false if print(why)

# Of the entry that the request is closest to, what differs.
differences(container, pod) := text if {
	fields := [described(field, container, pod) | some field in compared; not same(field, container, pod)]
	text := concat("", [trim_suffix(concat(" ", [container.type, container.name]), " "), " has other ", concat(", ", fields)])
}

described(field, container, pod) := concat("", [field, " (", concat(" ", names), ")"]) if {
	names := details(field, container, pod)
	count(names) > 0
}

else := field

details("OCI.Process.Env", container, pod) := wrong_variables(container, pod, created_environment)

details("OCI.Mounts", container, pod) := wrong_mounts(container, input.OCI.Mounts)

details("storages", container, pod) := places if {
	places := [object.get(storage, "mount_point", "") |
		some storage in input.storages
		not allowed_storage(container, storage)
	]
}
`;
