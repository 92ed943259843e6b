/**
 * The rules of every policy, in Rego, for the agent inside the VM (kata-containers, src/agent/policy). Each request of
 * the host is asked for by the name of its message; what no rule allows is refused. `policy_data` follows them.
 *
 * A container may be created only as its entry says. Beside the entry there may be what the kubelet and containerd add
 * to every container: the variables and mounts that are listed here, and nothing else.
 */
export const POLICY_RULES = `package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

default AllowRequestsFailingPolicy := false

# What the host may always do: look after what runs.
default DestroySandboxRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default OnlineCPUMemRequest := true
default RemoveContainerRequest := true
default RemoveStaleVirtiofsShareMountsRequest := true
default SignalProcessRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true
# A container that nobody reads from stops at a full pipe. What it prints, the host sees.
default ReadStreamRequest := true

# What the host may never do: run or feed programs, or change the VM.
default AddARPNeighborsRequest := false
default AddSwapRequest := false
default CloseStdinRequest := false
default ExecProcessRequest := false
default GetDiagnosticDataRequest := false
default GetMetricsRequest := false
default ListInterfacesRequest := false
default ListRoutesRequest := false
default MemAgentCompactSet := false
default MemAgentMemcgSet := false
default MemHotplugByProbeRequest := false
default PauseContainerRequest := false
default ReseedRandomDevRequest := false
default ResumeContainerRequest := false
default SetGuestDateTimeRequest := false
default SetPolicyRequest := false
default StartTracingRequest := false
default StopTracingRequest := false
default TtyWinResizeRequest := false
default UpdateContainerRequest := false
default UpdateEphemeralMountsRequest := false
default WriteStreamRequest := false

# What depends on the request.
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := false

shared_folder := "/run/kata-containers/shared/containers/"

# Files and folders that the host shares: a link would lead out of there.
CopyFileRequest if {
	startswith(input.path, shared_folder)
	stays_inside(input.path)
	bits.and(input.file_mode, 61440) in {16384, 32768}
}

CreateSandboxRequest if {
	input.guest_hook_path == ""
	count(input.kernel_modules) == 0
	input.sandbox_pidns == false
	every storage in input.storages {
		storage.driver == "ephemeral"
		storage.fstype == "tmpfs"
	}
}

CreateContainerRequest if {
	plain_request
	of_this_workload(input.OCI.Annotations)
	some container in policy_data.containers
	same_container(container, input.OCI.Annotations)
	same_process(container, input.OCI.Process)
	input.OCI.Root.Readonly == container.read_only_root
	same_mounts(container, input.OCI.Mounts)
	same_storages(container, input.storages)
}

plain_request if {
	count(input.devices) == 0
	count(input.shared_mounts) == 0
	input.sandbox_pidns == false
	object.get(input, "string_user", null) == null
	object.get(input.OCI, "Hooks", null) == null
}

of_this_workload(annotations) if {
	startswith(annotations["io.kubernetes.cri.sandbox-name"], policy_data.workload.name)
	annotations["io.kubernetes.cri.sandbox-namespace"] in namespaces(annotations)
}

# Without a namespace the resource goes where it is applied to.
namespaces(annotations) := {policy_data.workload.namespace} if policy_data.workload.namespace != null

namespaces(annotations) := {annotations["io.kubernetes.cri.sandbox-namespace"]} if policy_data.workload.namespace == null

same_container(container, annotations) if {
	annotations["io.kubernetes.cri.container-type"] == container.type
	object.get(annotations, "io.kubernetes.cri.container-name", "") == container.name
}

same_process(container, process) if {
	process.Args == array.concat(container.command, container.args)
	process.Cwd == container.cwd
	process.Terminal == container.terminal
	process.NoNewPrivileges == container.no_new_privileges
	process.User.UID == container.user
	same_capabilities(container, process.Capabilities)
	same_environment(container, process.Env)
}

same_capabilities(container, capabilities) if container.privileged

same_capabilities(container, capabilities) if {
	not container.privileged
	every kind in ["Bounding", "Effective", "Permitted"] {
		sort(capabilities[kind]) == container.capabilities
	}
	every kind in ["Ambient", "Inheritable"] {
		every name in object.get(capabilities, kind, []) {
			name in container.capabilities
		}
	}
}

same_environment(container, variables) if {
	# Of two values for one name the program would take one and the policy the other.
	count({split(variable, "=")[0] | some variable in variables}) == count(variables)
	every variable in container.env {
		variable in variables
	}
	every variable in variables {
		allowed_variable(container, variable)
	}
}

allowed_variable(container, variable) if variable in container.env

allowed_variable(container, variable) if split(variable, "=")[0] in container.env_from_cluster

allowed_variable(container, variable) if {
	some pattern in added_variables
	regex.match(pattern, variable)
}

added_variables := [
	"^PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin$",
	"^HOSTNAME=[a-z0-9.-]+$",
	"^[A-Z0-9_]+_SERVICE_HOST=[0-9a-f.:]+$",
	"^[A-Z0-9_]+_SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]+$",
	"^[A-Z0-9_]+_PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://[0-9a-f.:]+$",
	"^[A-Z0-9_]+_PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO=(tcp|udp|sctp)$",
	"^[A-Z0-9_]+_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT=[0-9]+$",
	"^[A-Z0-9_]+_PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR=[0-9a-f.:]+$",
]

same_mounts(container, mounts) if {
	# Of two mounts at one place the later one hides the other.
	count({mount.destination | some mount in mounts}) == count(mounts)
	every wanted in container.mounts {
		some mount in mounts
		same_mount(wanted, mount)
	}
	every mount in mounts {
		allowed_mount(container, mount)
	}
}

allowed_mount(container, mount) if {
	some wanted in container.mounts
	same_mount(wanted, mount)
}

allowed_mount(container, mount) if {
	startswith(mount.source, added_mounts[mount.destination])
	stays_inside(mount.source)
}

same_mount(wanted, mount) if {
	mount.destination == wanted.destination
	startswith(mount.source, wanted.source)
	stays_inside(mount.source)
	("ro" in mount.options) == wanted.read_only
}

added_mounts := {
	"/dev": "tmpfs",
	"/dev/mqueue": "mqueue",
	"/dev/pts": "devpts",
	"/dev/shm": "/run/kata-containers/sandbox/shm",
	"/dev/termination-log": shared_folder,
	"/etc/hostname": shared_folder,
	"/etc/hosts": shared_folder,
	"/etc/resolv.conf": shared_folder,
	"/proc": "proc",
	"/sys": "sysfs",
	"/sys/fs/cgroup": "cgroup",
	"/var/run/secrets/kubernetes.io/serviceaccount": shared_folder,
}

stays_inside(path) if not ".." in split(path, "/")

# The image is pulled and checked inside the VM; volumes are memory or folders of the VM, never devices of the host.
same_storages(container, storages) if {
	count([storage | some storage in storages; storage.driver == "image_guest_pull"]) == 1
	every storage in storages {
		allowed_storage(container, storage)
	}
}

allowed_storage(container, storage) if storage.driver in {"ephemeral", "local"}

allowed_storage(container, storage) if {
	storage.driver == "image_guest_pull"
	container.type == "container"
	storage.source == container.image
}

# The agent brings the image of the sandbox along, whatever the request names.
allowed_storage(container, storage) if {
	storage.driver == "image_guest_pull"
	container.type == "sandbox"
	every option in storage.driver_options {
		pulled := json.unmarshal(trim_prefix(option, "image_guest_pull="))
		pulled.metadata["io.kubernetes.cri.container-type"] == "sandbox"
	}
}
`;
