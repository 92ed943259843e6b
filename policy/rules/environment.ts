/** The variables of a process, compared with those of its container's entry. */
export const ENVIRONMENT = `# The variables as they are written, by their names. Of two values for one name the program would take one and the policy
# the other.
environment(process) := env if {
	names := {parts[0] | some variable in process.Env; parts := split(variable, "="); parts[1]}
	count(names) == count(process.Env)
	env := {name: variable | some variable in process.Env; parts := split(variable, "="); name := parts[0]}
}

created_environment := environment(input.OCI.Process)

value_of(env, name) := trim_prefix(env[name], concat("", [name, "="]))

# Text, or its pieces, some of which are variables that the kubelet put in; those that it does not know, it leaves alone.
text_of(template, env) := template if is_string(template)

text_of(template, env) := text if {
	is_array(template)
	pieces := [piece_of(piece, env) | some piece in template]
	text := concat("", pieces)
}

piece_of(piece, env) := piece if is_string(piece)

piece_of(piece, env) := value_of(env, piece.variable) if env[piece.variable]

piece_of(piece, env) := concat("", ["$(", piece.variable, ")"]) if not has_variable(env, piece.variable)

has_variable(env, name) if env[name]

# The names of variables that are missing or have another value, and of those that nobody knows.
wrong_variables(container, pod, env) := wrong if {
	stated := {name | some name, value in container.env; not is_stated_value(env, name, value)}
	chosen := {name | some name, kind in container.env_from_cluster; not is_set_to(env, name, kind, pod)}
	besides := (object.keys(env) - object.keys(container.env)) - object.keys(container.env_from_cluster)
	optional := {name | some name in besides & object.keys(container.optional_env); not is_optional(container, pod, env, name)}
	others := without_prefix(container, besides - object.keys(container.optional_env))
	wrong := sort(((stated | chosen) | optional) | no_services(container, env, others))
}

is_stated_value(env, name, value) if env[name] == concat("=", [name, text_of(value, env)])

is_set_to(env, name, kind, pod) if is_of_kind(kind, pod, value_of(env, name))

is_optional(container, pod, env, name) if is_of_kind(container.optional_env[name], pod, value_of(env, name))

without_prefix(container, names) := names if container.env_prefixes == []

else := others if {
	others := {name | some name in names; not has_prefix(container, name)}
}

has_prefix(container, name) if {
	some prefix in container.env_prefixes
	startswith(name, prefix)
}

no_services(container, env, names) := set() if are_services(container, env, names)

else := wrong if {
	wrong := {name | some name in names; not are_services(container, env, {name})}
}

are_services(container, env, names) if count(names) == 0

# All at once: to make a pattern ready takes longer than to use it. No line may have another one in its value.
are_services(container, env, names) if {
	text := concat("\\n", [env[name] | some name in names])
	count(split(text, "\\n")) == count(names)
	regex.match(concat("", ["^(", service_variables[container.services], "(\\n|$))+$"]), text)
}

is_of_kind(kind, pod, value) if value == values_of(pod)[kind]

is_of_kind(kind, pod, value) if {
	kind == "index"
	value == steps_from_behind(pod)[1]
}

is_of_kind(kind, pod, value) if regex.match(kinds[kind], value)

values_of(pod) := {
	"pod name": pod.name, "namespace": pod.namespace, "host name": hostname(pod), "terminal": "xterm",
	"search path": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

kinds := {
	"node name": "^[a-z0-9.-]+$",
	"uid": "^[0-9a-f-]{36}$",
	"addresses": "^[0-9a-f.:,]+$",
	"number": "^[0-9]+$",
	"anything": "",
}

# The pod's name, as far as it fits.
hostname(pod) := policy_data.hostname if policy_data.hostname != ""

hostname(pod) := trim_right(substring(pod.name, 0, 63), "-.") if {
	policy_data.hostname == ""
	not policy_data.indexed
}

# Of a pod of an Indexed Job: what is before the letters at its end.
hostname(pod) := trim_suffix(pod.name, concat("-", ["", steps_from_behind(pod)[0]])) if {
	policy_data.hostname == ""
	policy_data.indexed
}

steps_from_behind(pod) := array.reverse(split(pod.name, "-"))

# Addresses and ports of services, as the kubelet and Docker before it wrote them.
service_variables := {
	"kubernetes": concat("", ["KUBERNETES_(", services_suffix, ")"]),
	"all": concat("", ["[A-Z0-9_]+_(", services_suffix, ")"]),
}

services_suffix := concat("|", [
	"SERVICE_HOST=[0-9a-f.:]+",
	"SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]+",
	"PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://(\\\\[[0-9a-f:]+\\\\]|[0-9.]+):[0-9]+",
	"PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO=(tcp|udp|sctp)|PORT=[0-9]+|ADDR=[0-9a-f.:]+)",
])
`;
