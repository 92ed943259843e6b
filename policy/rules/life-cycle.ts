/**
 * The life of a pod. The agent keeps what `ops` say as `data.pstate` (JSON Patch), if the request is allowed:
 *
 * - `vm`: the id and the host name that the sandbox was created with
 * - `sandbox`: the names and the id of this pod, as its first container had them
 * - `container:<id>`: the entry that a container was created by; null when it was removed
 * - `running:<name>`: the id of the container that was started by this entry
 * - `started:<name>`: one was started
 * - `ended`: the sandbox was destroyed
 */
export const LIFE_CYCLE = `# Once: it empties the folder that all containers and volumes are in. Its id is that of the pod from here on.
CreateSandboxRequest := {"allowed": true, "ops": ops} if {
	not data.pstate.vm
	not data.pstate.ended
	nothing_else(input, ["hostname", "dns", "storages", "sandbox_id"])
	is_id(input.sandbox_id)
	storages := object.get(input, "storages", [])
	count(storages) <= 1
	every storage in storages {
		shared_memory(storage)
	}
	vm := {"id": input.sandbox_id, "hostname": object.get(input, "hostname", "")}
	ops := [{"op": "add", "path": "/pstate/vm", "value": vm}]
}

# Nothing is created or started after it, though it may have failed on its way.
DestroySandboxRequest := {"allowed": true, "ops": ops} if {
	not data.pstate.ended
	ops := [{"op": "add", "path": "/pstate/ended", "value": true}]
}

# A part of paths: beside what has this form are the volumes, and what the host may write has another one.
is_id(text) if regex.match("^[0-9a-f]{64}$", text)

# A container is created only as its entry says, under an id that none had before, and with the names of the pod that the
# first one had. That is the sandbox, whose id is the pod's.
CreateContainerRequest := {"allowed": true, "ops": ops} if {
	is_id(input.container_id)
	not container_key(input.container_id) in object.keys(data.pstate)
	not data.pstate.ended
	pod := pod_of(input.OCI.Annotations)
	pod.id == data.pstate.vm.id
	allowed_pod(pod)
	some container in policy_data.containers
	same_identity(container, pod, input.OCI.Annotations)
	same_container(container, pod)
	ops := [
		{"op": "add", "path": "/pstate/sandbox", "value": pod},
		{"op": "add", "path": concat("", ["/pstate/", container_key(input.container_id)]), "value": container.name},
	]
}

# Of each entry one container runs at a time: two would share its volumes. Those that come before it in the pod have been
# started. Whether they did their work, no request says; they may have failed, or the host may have ended them.
StartContainerRequest := {"allowed": true, "ops": ops} if {
	nothing_else(input, ["container_id"])
	not data.pstate.ended
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

# Its id stays taken: what it wrote may still be in its folder.
RemoveContainerRequest := {"allowed": true, "ops": array.concat(created, running)} if {
	name := data.pstate[container_key(input.container_id)]
	created := [{"op": "add", "path": concat("", ["/pstate/", container_key(input.container_id)]), "value": null}]
	running := [{"op": "remove", "path": concat("", ["/pstate/", running_key(name)])} |
		data.pstate[running_key(name)] == input.container_id
	]
}

# The commands of probes and hooks, in the container that has them, as the container itself runs.
ExecProcessRequest if {
	nothing_else(input, ["container_id", "exec_id", "process"])
	nothing_else(input.process, ["Args", "Env", "Cwd", "User", "NoNewPrivileges", "Capabilities"])
	not data.pstate.ended
	# By this name the agent finds the process again; that of the container is its id.
	regex.match("^[A-Za-z0-9][A-Za-z0-9_.-]*$", input.exec_id)
	input.exec_id != input.container_id
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

allowed_pod(pod) if {
	regex.match(policy_data.pod_name, pod.name)
	# It may be in arguments of programs.
	regex.match("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", pod.namespace)
	# Without one the resource goes where it is applied to.
	policy_data.workload.namespace in [null, pod.namespace]
}

same_identity(container, pod, annotations) if {
	container.type == "container"
	# The sandbox is there.
	data.pstate.sandbox == pod
	annotations["io.kubernetes.cri.container-type"] == "container"
	annotations["io.katacontainers.pkg.oci.container_type"] == "pod_container"
	annotations["io.kubernetes.cri.container-name"] == container.name
	harmless_name(container, object.get(annotations, "io.kubernetes.cri.image-name", ""))
}

# The guest pulls what the storage names. This is only what containerd calls the image: for one that was pulled by its tag
# before, containerd's first name has the tag. A digest must be the right one all the same.
harmless_name(container, name) if name in container.image_names

harmless_name(container, name) if {
	is_string(name)
	not contains(name, "@")
}

same_identity(container, pod, annotations) if {
	container.type == "sandbox"
	input.container_id == pod.id
	# What programs are told by the system is what their HOSTNAME says.
	data.pstate.vm.hostname in ["", hostname(pod)]
	annotations["io.kubernetes.cri.container-type"] == "sandbox"
	annotations["io.katacontainers.pkg.oci.container_type"] == "pod_sandbox"
	object.get(annotations, "io.kubernetes.cri.container-name", "") == ""
}
`;
