/** The variables of a process, compared with those of its container's entry. */
export const ENVIRONMENT = `# Of two values for one name the program would take one and the policy the other.
environment(process) := env if {
	count({name_of(variable) | some variable in process.Env}) == count(process.Env)
	env := {name: value |
		some variable in process.Env
		name := name_of(variable)
		value := trim_prefix(variable, concat("", [name, "="]))
	}
}

created_environment := environment(input.OCI.Process)

name_of(variable) := split(variable, "=")[0] if contains(variable, "=")

# Text, or its pieces, some of which are variables that the kubelet put in; those that it does not know, it leaves alone.
text_of(template, env) := template if is_string(template)

text_of(template, env) := text if {
	is_array(template)
	pieces := [piece_of(piece, env) | some piece in template]
	text := concat("", pieces)
}

piece_of(piece, env) := piece if is_string(piece)

piece_of(piece, env) := object.get(env, piece.variable, concat("", ["$(", piece.variable, ")"])) if is_object(piece)

same_environment(container, pod, process) if {
	env := environment(process)
	every name, value in container.env {
		env[name] == text_of(value, env)
	}
	every name, kind in container.env_from_cluster {
		is_of_kind(kind, pod, env[name])
	}
	every name, value in env {
		allowed_variable(container, pod, name, value)
	}
}

# Its value has been compared.
allowed_variable(container, pod, name, value) if container.env[name]

allowed_variable(container, pod, name, value) if container.env_from_cluster[name]

allowed_variable(container, pod, name, value) if is_of_kind(container.optional_env[name], pod, value)

allowed_variable(container, pod, name, value) if {
	not is_stated(container, name)
	some prefix in container.env_prefixes
	startswith(name, prefix)
}

allowed_variable(container, pod, name, value) if {
	not is_stated(container, name)
	some pattern in service_variables[container.services]
	regex.match(pattern, concat("", [name, "=", value]))
}

is_stated(container, name) if name in object.keys(container.env_from_cluster)

is_stated(container, name) if name in object.keys(container.optional_env)

is_of_kind(kind, pod, value) if value == values_of(pod)[kind]

is_of_kind(kind, pod, value) if regex.match(kinds[kind], value)

values_of(pod) := {"pod name": pod.name, "namespace": pod.namespace, "host name": hostname(pod), "terminal": "xterm"}

kinds := {
	"node name": "^[a-z0-9.-]+$",
	"uid": "^[0-9a-f-]{36}$",
	"addresses": "^[0-9a-f.:,]+$",
	"number": "^[0-9]+$",
	"anything": "",
}

# The pod's name, as far as it fits.
hostname(pod) := policy_data.hostname if policy_data.hostname != ""

hostname(pod) := trim_right(substring(pod.name, 0, 63), "-.") if policy_data.hostname == ""

service_variables := {
	"kubernetes": [
		"^KUBERNETES_SERVICE_HOST=[0-9a-f.:]+$",
		"^KUBERNETES_SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]+$",
		"^KUBERNETES_PORT(_[0-9]+_TCP)?=tcp://(\\\\[[0-9a-f:]+\\\\]|[0-9.]+):[0-9]+$",
		"^KUBERNETES_PORT_[0-9]+_TCP_(PROTO=tcp|PORT=[0-9]+|ADDR=[0-9a-f.:]+)$",
	],
	"all": [
		"^[A-Z0-9_]+_SERVICE_HOST=[0-9a-f.:]+$",
		"^[A-Z0-9_]+_SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]+$",
		"^[A-Z0-9_]+_PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://(\\\\[[0-9a-f:]+\\\\]|[0-9.]+):[0-9]+$",
		"^[A-Z0-9_]+_PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO=(tcp|udp|sctp)|PORT=[0-9]+|ADDR=[0-9a-f.:]+)$",
	],
}
`;
