/**
 * The life of a container. The agent keeps what `ops` say as `data.pstate` (JSON Patch), if the request is allowed:
 *
 * - `sandbox`: the names and the id of this pod, as its first container had them
 * - `container:<id>`: the entry that a container was created by
 * - `running:<name>`: the id of the container that was started by this entry
 * - `started:<name>`: one was started
 */
export const LIFE_CYCLE = `# A container is created only as its entry says, and with the names of the pod that the first one had.
CreateContainerRequest := {"allowed": true, "ops": ops} if {
	regex.match("^[0-9a-f]{64}$", input.container_id)
	not data.pstate[container_key(input.container_id)]
	pod := pod_of(input.OCI.Annotations)
	not other_pod(pod)
	some container in policy_data.containers
	same_identity(container, input.OCI.Annotations)
	same_container(container, pod)
	ops := [
		{"op": "add", "path": "/pstate/sandbox", "value": pod},
		{"op": "add", "path": concat("", ["/pstate/", container_key(input.container_id)]), "value": container.name},
	]
}

# Of each entry one container runs at a time: two would share its volumes. Those that come before it in the pod have been
# started: without the mesh proxy nobody starts an application.
StartContainerRequest := {"allowed": true, "ops": ops} if {
	nothing_else(input, ["container_id"])
	name := data.pstate[container_key(input.container_id)]
	not data.pstate[running_key(name)]
	some container in policy_data.containers
	container.name == name
	every other in container.after {
		data.pstate[started_key(other)]
	}
	ops := [
		{"op": "add", "path": concat("", ["/pstate/", running_key(name)]), "value": input.container_id},
		{"op": "add", "path": concat("", ["/pstate/", started_key(name)]), "value": true},
	]
}

RemoveContainerRequest := {"allowed": true, "ops": array.concat(created, running)} if {
	name := data.pstate[container_key(input.container_id)]
	created := [{"op": "remove", "path": concat("", ["/pstate/", container_key(input.container_id)])}]
	running := [{"op": "remove", "path": concat("", ["/pstate/", running_key(name)])} |
		data.pstate[running_key(name)] == input.container_id
	]
}

# The commands of probes and hooks, in the container that has them, as the container itself runs.
ExecProcessRequest if {
	nothing_else(input, ["container_id", "exec_id", "process"])
	nothing_else(input.process, ["Args", "Env", "Cwd", "User", "NoNewPrivileges", "Capabilities"])
	name := data.pstate[container_key(input.container_id)]
	data.pstate[running_key(name)] == input.container_id
	some container in policy_data.containers
	container.name == name
	pod := data.pstate.sandbox
	same_surroundings(container, pod, input.process)
	env := environment(input.process)
	some command in container.exec
	input.process.Args == [text_of(part, env) | some part in command]
	exec_capabilities(container, object.get(input.process, "Capabilities", null))
}

exec_capabilities(container, capabilities) if capabilities == null

exec_capabilities(container, capabilities) if nothing_else(capabilities, [])

exec_capabilities(container, capabilities) if same_capabilities(container, capabilities)

container_key(id) := concat("", ["container:", id])

running_key(name) := concat("", ["running:", name])

started_key(name) := concat("", ["started:", name])

pod_of(annotations) := {
	"name": annotations["io.kubernetes.cri.sandbox-name"],
	"namespace": annotations["io.kubernetes.cri.sandbox-namespace"],
	"id": annotations["io.kubernetes.cri.sandbox-id"],
}

other_pod(pod) if data.pstate.sandbox != pod

other_pod(pod) if not regex.match(policy_data.pod_name, pod.name)

# Without a namespace the resource goes where it is applied to.
other_pod(pod) if {
	policy_data.workload.namespace != null
	policy_data.workload.namespace != pod.namespace
}

same_identity(container, annotations) if {
	container.type == "container"
	annotations["io.kubernetes.cri.container-type"] == "container"
	annotations["io.katacontainers.pkg.oci.container_type"] == "pod_container"
	annotations["io.kubernetes.cri.container-name"] == container.name
	# What counts is the name in the storage; this one must not tell another story.
	object.get(annotations, "io.kubernetes.cri.image-name", "") in array.concat([""], container.image_names)
}

same_identity(container, annotations) if {
	container.type == "sandbox"
	annotations["io.kubernetes.cri.container-type"] == "sandbox"
	annotations["io.katacontainers.pkg.oci.container_type"] == "pod_sandbox"
	annotations["io.kubernetes.cri.sandbox-id"] == input.container_id
	object.get(annotations, "io.kubernetes.cri.container-name", "") == ""
}
`;
