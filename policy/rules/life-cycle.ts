/**
 * The life of a pod. The agent keeps what `ops` say as `data.pstate` (JSON Patch), if the request is allowed:
 *
 * - `vm`: the id and the host name that the sandbox was created with
 * - `sandbox`: the names and the id of this pod, as its first container had them
 * - `container:<id>`: the entry that a container was created by; null when it was removed
 * - `running:<name>`: the id of the container that was started by this entry
 * - `started:<name>`: one was started
 * - `disk:<place>`: the volume that the disk at this place is for
 * - `ended`: the sandbox was destroyed
 */
export const LIFE_CYCLE = `# Once: it empties the folder that all containers and volumes are in. Its id is that of the pod from here on.
CreateSandboxRequest := {"allowed": true, "ops": ops} if {
	not data.pstate.vm
	not data.pstate.ended
	nothing_else(input, {"hostname", "dns", "storages", "sandbox_id"})
	is_id(input.sandbox_id)
	storages := object.get(input, "storages", [])
	count(storages) <= 1
	every storage in storages {
		shared_memory(storage)
	}
	vm := {"id": input.sandbox_id, "hostname": object.get(input, "hostname", "")}
	ops := [{"op": "add", "path": "/pstate/vm", "value": vm}]
}

else := refused("there is a sandbox already, or was one") if sandbox_was_made

else := refused("other than one sandbox_id of 64 hexadecimal digits, hostname, dns, and a storage for /dev/shm alone")

sandbox_was_made if data.pstate.vm

sandbox_was_made if data.pstate.ended

# Nothing is created or started after it, though it may have failed on its way.
DestroySandboxRequest := {"allowed": true, "ops": ops} if {
	not data.pstate.ended
	ops := [{"op": "add", "path": "/pstate/ended", "value": true}]
}

# A part of paths: beside what has this form are the volumes, and what the host may write has another one.
is_id(text) if is_hexadecimal(text, 64)

is_hexadecimal(text, digits) if {
	count(text) == digits
	trim(text, "0123456789abcdef") == ""
}

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
	disks := [{"op": "add", "path": concat("", ["/pstate/", disk.key]), "value": disk.owner} | some disk in disks_of(container)]
	ops := array.concat(disks, [
		{"op": "add", "path": "/pstate/sandbox", "value": pod},
		{"op": "add", "path": concat("", ["/pstate/", container_key(input.container_id)]), "value": container.name},
	])
}

else := refused("the id is not 64 hexadecimal digits") if not is_id(input.container_id)

else := refused("a container had this id before") if container_key(input.container_id) in object.keys(data.pstate)

else := refused("the sandbox was destroyed") if data.pstate.ended

else := refused("the id of the pod is not that of CreateSandboxRequest") if {
	not pod_of(input.OCI.Annotations).id == data.pstate.vm.id
}

else := refused("name or namespace of the pod are not those that the workload gives") if {
	not allowed_pod(pod_of(input.OCI.Annotations))
}

else := refused(differences(container, pod)) if {
	pod := pod_of(input.OCI.Annotations)
	some container in policy_data.containers
	same_identity(container, pod, input.OCI.Annotations)
}

else := refused("no container of the pod has this name, type and image name, in a pod of these names")

# Of each entry one container runs at a time: two would share its volumes. Those that come before it in the pod have been
# started. Whether they did their work, no request says; they may have failed, or the host may have ended them.
StartContainerRequest := {"allowed": true, "ops": ops} if {
	nothing_else(input, {"container_id"})
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

else := refused(concat("", ["container ", name, " runs already, or has to wait for ", concat(", ", missing)])) if {
	name := data.pstate[container_key(input.container_id)]
	some container in policy_data.containers
	container.name == name
	missing := [other | some other in container.after; not data.pstate[started_key(other)]]
}

else := refused("no container with this id was created")

# Its id stays taken: what it wrote may still be in its folder.
RemoveContainerRequest := {"allowed": true, "ops": array.concat(created, running)} if {
	name := data.pstate[container_key(input.container_id)]
	created := [{"op": "add", "path": concat("", ["/pstate/", container_key(input.container_id)]), "value": null}]
	running := [{"op": "remove", "path": concat("", ["/pstate/", running_key(name)])} |
		data.pstate[running_key(name)] == input.container_id
	]
}

# The commands of probes and hooks, in the container that has them, as the container itself runs.
ExecProcessRequest := true if {
	exec_compared == []
	some command in exec_container.exec
	input.process.Args == [text_of(part, exec_environment) | some part in command]
}

# Whoever permits that, says so with the policy.
else := true if {
	exec_compared == []
	"exec" in policy_data.permissions
}

else := refused(concat("", ["the process has other ", concat(", ", exec_compared)])) if count(exec_compared) > 0

else := refused("the command is none of a probe or hook, and the policy does not permit exec") if {
	exec_container.name
}

else := refused("the container does not run")

exec_container := container if {
	not data.pstate.ended
	name := data.pstate[container_key(input.container_id)]
	data.pstate[running_key(name)] == input.container_id
	some container in policy_data.containers
	container.name == name
}

exec_environment := environment(input.process)

# What differs from the container's own process.
exec_compared := different if {
	exec_container
	different := [field | some field in exec_fields; not same_exec(field, exec_container)]
}

exec_fields := ["fields", "exec_id", "Terminal", "Cwd", "User", "NoNewPrivileges", "Env", "Capabilities"]

same_exec("fields", container) if {
	nothing_else(input, {"container_id", "exec_id", "process"})
	nothing_else(input.process, {
		"Terminal", "Args", "Env", "Cwd", "User", "NoNewPrivileges", "Capabilities", "ApparmorProfile", "OOMScoreAdj",
	})
}

# By this name the agent finds the process again; that of the container is its id, or nothing.
same_exec("exec_id", container) if {
	regex.match("^[A-Za-z0-9][A-Za-z0-9_.-]*$", input.exec_id)
	input.exec_id != input.container_id
}

same_exec("Terminal", container) if object.get(input.process, "Terminal", false) == false

same_exec("Terminal", container) if "debug-shell" in policy_data.permissions

same_exec("Cwd", container) if input.process.Cwd == container.cwd

same_exec("User", container) if same_user(container, input.process.User)

# Some runtimes drop it.
same_exec("NoNewPrivileges", container) if {
	object.get(input.process, "NoNewPrivileges", false) in [false, container.no_new_privileges]
}

same_exec("Env", container) if wrong_variables(container, data.pstate.sandbox, exec_environment) == []

# What comes with a terminal.
same_exec("Env", container) if {
	"debug-shell" in policy_data.permissions
	exec_environment.TERM == "TERM=xterm"
	wrong_variables(container, data.pstate.sandbox, exec_environment) == ["TERM"]
}

# Without any the agent takes those of the container.
same_exec("Capabilities", container) if object.get(input.process, "Capabilities", null) == null

same_exec("Capabilities", container) if nothing_else(input.process.Capabilities, set())

same_exec("Capabilities", container) if same_capabilities(container, input.process.Capabilities)

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
