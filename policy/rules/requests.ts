/** The agent's requests, by the names of their messages (agent.proto): what no rule allows is refused. */
export const REQUESTS = `# What the host may always do: look after what runs.
default DestroySandboxRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default OnlineCPUMemRequest := true
default RemoveContainerRequest := true
default RemoveStaleVirtiofsShareMountsRequest := true
default SignalProcessRequest := true
default StatsContainerRequest := true
default WaitProcessRequest := true

# What the host may never do: feed programs, look inside, or change the VM.
default AddSwapPathRequest := false
default AddSwapRequest := false
default GetDiagnosticDataRequest := false
default GetIPTablesRequest := false
default GetMetricsRequest := false
default ListInterfacesRequest := false
default ListRoutesRequest := false
default MemAgentCompactConfig := false
default MemAgentMemcgConfig := false
default MemHotplugByProbeRequest := false
default PauseContainerRequest := false
default PullImageRequest := false
default ReseedRandomDevRequest := false
default ResizeVolumeRequest := false
default ResumeContainerRequest := false
default SetGuestDateTimeRequest := false
default SetIPTablesRequest := false
default SetPolicyRequest := false
default StartTracingRequest := false
default StopTracingRequest := false
default UpdateContainerRequest := false
default UpdateEphemeralMountsRequest := false
default VolumeStatsRequest := false
default AllowRequestsFailingPolicy := false

# What depends on the request, or is permitted by name.
default AddARPNeighborsRequest := false
default CloseStdinRequest := false
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := false
default ExecProcessRequest := false
default ReadStreamRequest := false
default StartContainerRequest := false
default TtyWinResizeRequest := false
default UpdateInterfaceRequest := false
default UpdateRoutesRequest := false
default WriteStreamRequest := false

# What programs print, the host sees. Where it may not read, the agent reads and answers with nothing.
ReadStreamRequest if "logs" in policy_data.permissions

WriteStreamRequest := true if is_debug_shell

else := refused("nobody sends input to a program: the policy does not permit debug-shell")

CloseStdinRequest if is_debug_shell

TtyWinResizeRequest if is_debug_shell

# Not the container's own program, whose process has no name or that of the container.
is_debug_shell if {
	"debug-shell" in policy_data.permissions
	is_string(input.exec_id)
	not input.exec_id in ["", input.container_id]
}

# Protobuf leaves nothing out: what is not used is there, and empty. What a newer agent knows besides, has to be so, too.
nothing_else(message, known) if {
	every field in object.keys(message) - known {
		message[field] in [null, false, "", 0, [], {}]
	}
}

# What fails below a "not" is true to the agent's engine: that there is a text has to be said before.
stays_inside(path) if {
	is_string(path)
	not ".." in split(path, "/")
}

# The host's copies of files and folders. What has another form than theirs is a volume of the VM's own.
copies := "/run/kata-containers/shared/containers/"

CopyFileRequest := true if {
	not data.pstate.ended
	nothing_else(input, {
		"path", "file_type", "symlink_target", "file_size", "file_mode", "dir_mode", "uid", "gid", "offset", "data",
	})
	regex.match("^/run/kata-containers/shared/containers/[0-9a-f]{64}-[0-9a-f]{16}-[^/]+(/[^/]+)*$", input.path)
	stays_inside(input.path)
	not "." in split(input.path, "/")
	allowed_file
}

else := refused("a path that is not of a container's copies, a mode with rights of another user, or a link that leads out")

# Run by a program, a file with such a mode would give it the rights of another user.
allowed_file if {
	is_file(32768, "Regular")
	bits.and(input.file_mode, 3072) == 0
	is_no_link
}

allowed_file if {
	is_file(16384, "Directory")
	is_no_link
}

# ConfigMaps and Secrets have links inside. One that leads out would let the host write to where it leads; so would one
# in the place of a whole copy, for beside it are the volumes.
allowed_file if {
	is_file(40960, "Symlink")
	count(split(trim_prefix(input.path, copies), "/")) > 1
	stays_inside(input.symlink_target)
	not startswith(input.symlink_target, "/")
}

# Newer agents say what the mode means.
is_file(kind, name) if {
	bits.and(input.file_mode, 61440) == kind
	object.get(input, "file_type", name) == name
}

is_no_link if object.get(input, "symlink_target", null) == null

shared_memory(storage) if {
	nothing_else(storage, {"driver", "source", "fstype", "options", "mount_point"})
	storage.driver == "ephemeral"
	storage.source == "shm"
	storage.fstype == "tmpfs"
	storage.mount_point == "/run/kata-containers/sandbox/shm"
	without_size(storage.options) == ["mode=1777", "nodev", "noexec", "nosuid"]
}

without_size(options) := sorted if {
	others := [option | some option in options; not regex.match("^size=[0-9]+$", option)]
	sorted := sort(others)
}
`;
