#!/bin/sh
# A Docker engine that leaves nothing behind: the first process of namespaces of its own for network, mounts and
# processes, which end with it. SIGTERM ends it. demo/compose/own-engine.ts starts it.
#
#     own-engine.sh FOLDER   for its socket and its data; FOLDER is removed at the end
set -u
folder=$1
name=$(basename "$folder")
made= engine= ended=

clean() {
  for place in $made; do umount -n "$place" && rmdir "$place"; done
  # With version 1 of control groups there is one for each controller.
  find /sys/fs/cgroup -maxdepth 2 -depth -type d -name "$name" -exec rmdir {} +
  rm -rf "$folder"
}
trap clean EXIT
trap 'ended=yes; [ -z "$engine" ] || kill -TERM "$engine"' TERM

# What dockerd and its containerd write outside their folders, whatever they are told.
for place in /etc/docker /opt/containerd /run/docker; do
  [ -d "$place" ] || { mkdir "$place" && made="$place $made"; }
  mount -nt tmpfs tmpfs "$place" || exit 1
done
ip link set lo up

# The driver of control groups: systemd, the other one, knows no process of another namespace.
dockerd --host "unix://$folder/docker.sock" --data-root "$folder/data" --exec-root "$folder/exec" \
  --pidfile "$folder/pid" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$name" &
engine=$!
[ -z "$ended" ] || kill -TERM "$engine"
while kill -0 "$engine" 2>/dev/null; do wait "$engine"; done
