"""A stand-in for Kubernetes on one machine: it makes of manifests what a kubelet would make of them. A pod has an address, a
host name and process ids of its own; a root that is this machine's, which it cannot write, with the volumes that the manifest
mounts; the user and the groups of its security context, and no capabilities; and its containers are started anew when they end.

What it has not: images (programs are those that were built), a scheduler, policies of the network, limits of memory.
It takes root."""

import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import yaml

from environment import GUIDE, MANIFESTS, PROGRAMS, ROOT

NETWORK = "10.78.0"
# Of containers that have ended: Kubernetes waits ten seconds and more.
PAUSE_SECONDS = 1
NAMES = ("varve", "safekeeper", "pageserver", "storage_broker", "compute_ctl")
# As in the images (docker/add-user), and whoever runs the node.
USERS = "root:x:0:0:root:/root:/bin/sh\nvarve:x:10001:10001::/var/lib/varve:/usr/sbin/nologin\n"
GROUPS = "root:x:0:\nvarve:x:10001:\n"
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Makes the root of a container and becomes its first process. In the mount namespace of the container, as root.
BECOME = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs none "$STAGE"
mkdir "$STAGE/upper" "$STAGE/work" "$STAGE/root" "$STAGE/tmp"
root=$STAGE/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$STAGE/upper,workdir=$STAGE/work" "$root"
mount --bind "$STAGE/tmp" "$root/tmp"
mount -o remount,bind,ro "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
rm -rf "$root/var/lib/varve" "$root/etc/varve"
mkdir -p "$root/usr/local/bin" "$root/var/lib/varve"
for file in hosts passwd group; do cp "$FILES/$file" "$root/etc/$file"; done
for program in $PROGRAMS; do
    : > "$root/usr/local/bin/${program##*/}"
    mount --bind "$program" "$root/usr/local/bin/${program##*/}"
done
while read -r from to mode; do
    [ -d "$root$to" ] || mkdir -p "$root$to"
    mount --bind "$from" "$root$to"
    [ "$mode" = rw ] || mount -o remount,bind,ro "$root$to"
done < "$FILES/mounts"
mount -o remount,ro "$root"
hostname "$POD"
exec chroot "$root" setpriv --reuid "$RUN_AS" --regid "$GROUP" --groups "$FS_GROUP" --no-new-privs --bounding-set=-all \
    --inh-caps=-all --ambient-caps=-all env --ignore-environment --chdir=/ --split-string="$ENVIRONMENT" "$@"
"""


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more)


def ip(words):
    run("ip", *words.split())


@dataclasses.dataclass
class Pod:
    name: str
    number: int
    template: dict
    claims: dict
    owner: dict

    @property
    def address(self):
        return f"{NETWORK}.{self.number}"


class Cluster:
    def __init__(self, work, change=lambda text: text):
        self.work = pathlib.Path(work)
        self.name = f"varve-k8s-{os.getpid()}"
        self.secrets = {}
        self.running = {}
        self.lock = threading.Lock()
        kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
        texts = [change((MANIFESTS / name).read_text()) for name in kustomization["resources"]]
        self.documents = [document for text in texts for document in yaml.safe_load_all(text)]
        self.numbers = {}
        ip(f"netns add {self.name}")
        ip(f"-n {self.name} link add bridge type bridge")
        ip(f"-n {self.name} address add {NETWORK}.1/24 dev bridge")
        ip(f"-n {self.name} link set bridge up")
        ip(f"-n {self.name} link set lo up")

    def find(self, kind, name):
        return next(one for one in self.documents if (one["kind"], one["metadata"]["name"]) == (kind, name))

    def workload(self, name):
        """What has pods."""
        return next(one for one in self.documents
                    if one["metadata"]["name"] == name and one["kind"] in ("Deployment", "StatefulSet", "Job"))

    def apply(self):
        """`kubectl apply`: everything that runs, all at once."""
        for document in self.documents:
            if document["kind"] in ("Deployment", "StatefulSet"):
                self.scale(document["metadata"]["name"], document["spec"]["replicas"])
            elif document["kind"] == "Job":
                self.start(self.pod(document, 0))

    def scale(self, name, replicas):
        for number in range(replicas):
            pod = self.pod(self.workload(name), number)
            if pod.name not in self.running:
                self.start(pod)

    def pod(self, document, number):
        name = document["metadata"]["name"]
        own = name if document["kind"] == "Job" else f"{name}-{number}"
        claims = {claim["metadata"]["name"]: f"{claim['metadata']['name']}-{own}"
                  for claim in document["spec"].get("volumeClaimTemplates", [])}
        address = self.numbers.setdefault(own, len(self.numbers) + 2)
        return Pod(own, address, document["spec"]["template"], claims, document)

    def hosts(self):
        """What the cluster's DNS would answer: pods of a StatefulSet by name, services by the pods that they select."""
        lines = ["127.0.0.1 localhost"]
        for document in self.documents:
            if document["kind"] not in ("Deployment", "StatefulSet"):
                continue
            service = document["spec"].get("serviceName")
            for number in range(max(document["spec"]["replicas"], 1)):
                pod = self.pod(document, number)
                names = [pod.name] + ([f"{pod.name}.{service}"] if service else [])
                if number == 0:
                    names += [one["metadata"]["name"] for one in self.documents if one["kind"] == "Service"
                              and one["spec"]["selector"].items() <= pod.template["metadata"]["labels"].items()]
                lines.append(" ".join([pod.address, *dict.fromkeys(names)]))
        return "\n".join(lines) + "\n"

    # --- volumes

    def volume(self, pod, volume):
        """The directory that becomes this volume of the pod."""
        group = pod.template["spec"]["securityContext"].get("fsGroup", 0)
        name = volume["name"]
        claim = pod.claims.get(name) or volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim:
            place = self.work / "claims" / claim
            place.mkdir(parents=True, exist_ok=True)
            # fsGroup: what is in the volume belongs to the group, and whatever comes does too.
            for path in [place, *place.rglob("*")]:
                if not path.is_symlink():
                    os.chown(path, -1, group)
                    path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
            return place
        place = self.work / "volumes" / pod.name / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        os.chown(place, -1, group)
        if "emptyDir" in volume:
            place.chmod(0o2777)
            return place
        place.chmod(0o2750)
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        mode = (volume.get("projected") or volume.get("secret") or volume["configMap"]).get("defaultMode", 0o644)
        for source in sources:
            self.fill(place, source, mode, group)
        return place

    def fill(self, place, source, mode, group):
        if "configMap" in source:
            of = source["configMap"]
            data = self.find("ConfigMap", of["name"])["data"]
        else:
            of = source["secret"]
            data = self.secrets.get(of.get("secretName") or of["name"])
            if data is None:
                assert of.get("optional"), f"there is no secret {of}"
                return
        for item in of.get("items", [{"key": key, "path": key} for key in data]):
            if item["key"] not in data:
                assert of.get("optional"), f"{of} has no {item['key']}"
                continue
            path = place / item["path"]
            for directory in reversed(path.relative_to(place).parents[:-1]):
                (place / directory).mkdir(exist_ok=True)
                os.chown(place / directory, -1, group)
                (place / directory).chmod(0o2750)
            content = data[item["key"]]
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            os.chown(path, -1, group)
            path.chmod(mode)

    # --- containers

    def environment(self, pod, container):
        values = {"PATH": PATH, "HOSTNAME": pod.name, "HOME": "/"}
        for source in container.get("envFrom", []):
            of = source["secretRef"]
            assert of.get("optional") or of["name"] in self.secrets, f"there is no secret {of['name']}"
            values |= {key: value.decode() if isinstance(value, bytes) else value
                       for key, value in self.secrets.get(of["name"], {}).items()}
        for one in container.get("env", []):
            if "value" in one:
                values[one["name"]] = one["value"]
            else:
                of = one["valueFrom"]["configMapKeyRef"]
                values[one["name"]] = self.find("ConfigMap", of["name"])["data"][of["key"]]
        return values

    def command(self, pod, container, words=None):
        """Popen's arguments of a container: its own command, or another in its place."""
        spec = pod.template["spec"]
        context = spec["securityContext"]
        files = self.work / "files" / f"{pod.name}-{container['name']}"
        files.mkdir(parents=True, exist_ok=True)
        (files / "hosts").write_text(self.hosts())
        (files / "passwd").write_text(USERS)
        (files / "group").write_text(GROUPS)
        volumes = {one["name"]: one for one in spec.get("volumes", [])} | {name: {"name": name} for name in pod.claims}
        mounts = [(self.volume(pod, volumes[mount["name"]]), mount["mountPath"], "ro" if mount.get("readOnly") else "rw")
                  for mount in container.get("volumeMounts", [])]
        # The outer one first, whatever the order in the manifest.
        mounts.sort(key=lambda mount: mount[1])
        (files / "mounts").write_text("".join(f"{place} {where} {mode}\n" for place, where, mode in mounts))
        stage = self.work / "stage"
        stage.mkdir(exist_ok=True)
        # `env --split-string` takes a dollar for a variable.
        quoted = [f'"{name}={value}"' for name, value in
                  ((name, re.sub(r'(["\\$])', r"\\\1", value)) for name, value in self.environment(pod, container).items())]
        environment = {
            "PATH": PATH, "STAGE": str(stage), "FILES": str(files), "POD": pod.name, "ENVIRONMENT": " ".join(quoted),
            "PROGRAMS": " ".join(map(str, [ROOT / "docker/storage-entrypoint", *(PROGRAMS / one for one in NAMES)])),
            "RUN_AS": str(context["runAsUser"]), "GROUP": str(context["runAsGroup"]), "FS_GROUP": str(context["fsGroup"]),
        }
        words = words or container["command"] + container.get("args", [])
        begin = ["ip", "netns", "exec", self.namespace(pod), "unshare", "--mount", "--uts", "--pid", "--fork",
                 "--kill-child=SIGKILL", "sh", "-c", BECOME, "sh"]
        return {"args": begin + words, "env": environment, "stdin": subprocess.DEVNULL}

    def namespace(self, pod):
        """Made when the first container of the pod starts."""
        name = f"{self.name}-{pod.number}"
        with self.lock:
            if name not in run("ip", "netns", "list").stdout.split():
                ip(f"netns add {name}")
                ip(f"-n {self.name} link add port{pod.number} type veth peer name eth0 netns {name}")
                ip(f"-n {self.name} link set port{pod.number} master bridge up")
                ip(f"-n {name} address add {pod.address}/24 dev eth0")
                ip(f"-n {name} link set lo up")
                ip(f"-n {name} link set eth0 up")
        return name

    def start(self, pod):
        one = Running(self, pod)
        self.running[pod.name] = one
        one.thread.start()

    def delete(self, name, force=False):
        """`kubectl delete pod`: in order, or as when its node is gone. Its exit status, if it came to an end in time."""
        return self.running.pop(name).stop(force)

    def is_ready(self, name):
        one = self.running[name]
        container = one.pod.template["spec"]["containers"][0]
        probe = container["readinessProbe"]["exec"]["command"]
        return self.exec(name, probe).returncode == 0

    def exec(self, name, words):
        """`kubectl exec`: in the container that runs there."""
        one = self.running[name]
        inside = one.first_process()
        context = one.pod.template["spec"]["securityContext"]
        if inside is None:
            return subprocess.CompletedProcess(words, 1, "", "it does not run")
        container = one.pod.template["spec"]["containers"][0]
        values = [f"{key}={value}" for key, value in self.environment(one.pod, container).items()]
        # `ip netns` has namespaces of mounts of its own; those of the container are the process's.
        return subprocess.run(
            ["nsenter", "--target", str(inside), "--mount", "--uts", "--pid", "--net", "--root", "--wd", "setpriv",
             "--reuid", str(context["runAsUser"]), "--regid", str(context["runAsGroup"]), "--groups",
             str(context["fsGroup"]), "--no-new-privs", "env", "--ignore-environment", *values, *words],
            capture_output=True, text=True, timeout=60, check=False)

    def run_like(self, name, words):
        """A pod like that one with another command, to its end: `kubectl run --overrides`."""
        pod = dataclasses.replace(self.pod(self.workload(name), 0), name=f"{name}-more", number=200)
        arguments = self.command(pod, pod.template["spec"]["containers"][0], words)
        return subprocess.run(**arguments, capture_output=True, text=True, timeout=120, check=False)

    def end(self):
        for one in list(self.running.values()):
            one.stop(force=True)
        for line in run("ip", "netns", "list").stdout.splitlines():
            name = line.split()[0]
            if name == self.name or name.startswith(f"{self.name}-"):
                subprocess.run(["ip", "netns", "delete", name], check=False)


class Running:
    """A pod whose containers run: those of `initContainers` to their end, one after the other, then the one that stays."""

    def __init__(self, cluster, pod):
        self.cluster, self.pod = cluster, pod
        self.process = None
        self.status = None
        self.restarts = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.keep, daemon=True)

    @property
    def is_job(self):
        return self.pod.owner["kind"] == "Job"

    def keep(self):
        spec = self.pod.template["spec"]
        for container in [*spec.get("initContainers", []), None]:
            last = container is None
            while not self.stopping.is_set():
                status = self.one(container or spec["containers"][0])
                if status == 0 and (not last or self.is_job):
                    break
                self.restarts += 1
                self.stopping.wait(PAUSE_SECONDS)

    def one(self, container):
        with open(self.cluster.work / f"{self.pod.name}.log", "ab") as log:
            try:
                arguments = self.cluster.command(self.pod, container)
            except AssertionError as error:
                log.write(f"{error}\n".encode())
                return 1
            self.process = subprocess.Popen(**arguments, stdout=log, stderr=log)
            self.status = self.process.wait()
            log.write(f"=== {container['name']} has ended with {self.status}\n".encode())
            return self.status

    def first_process(self):
        """Process 1 of the container that runs, as this machine calls it, once the container is complete."""
        if self.process is None or self.process.poll() is not None:
            return None
        try:
            # `ip netns exec` has become `unshare`, whose child it is.
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            [child] = children
            if os.readlink(f"/proc/{child}/root") == "/":
                return None
            return int(child)
        except (OSError, ValueError):
            return None

    def stop(self, force):
        self.stopping.set()
        grace = self.pod.template["spec"].get("terminationGracePeriodSeconds", 30)
        inside = self.first_process()
        if inside is not None and not force:
            os.kill(inside, signal.SIGTERM)
            self.thread.join(grace)
        if self.thread.is_alive() and self.process is not None:
            if inside is not None:
                os.kill(inside, signal.SIGKILL)
            self.process.kill()
            self.thread.join()
            return None
        return self.status


def commands_of_guide(name):
    """The commands of the guide that have this name, with a bucket's key of ours, for the PostgreSQL of this machine."""
    found = re.search(rf'as "{name}" -->\n```sh\n(.*?)\n```', GUIDE.read_text(), re.DOTALL)
    assert found, f"the guide has no commands {name!r}"
    installed = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert installed, "PostgreSQL is missing: `make deps` installs it"
    version = installed[-1].parent.parent.name
    commands = found[1].replace("=KEY", "=AKIAVARVETESTS").replace("=SECRET", "=the/secret/of/the/tests")
    return commands.replace("postgresql/15", f"postgresql/{version}").replace("pg_version = 15", f"pg_version = {version}")


def secrets_of(commands, work):
    """Runs commands that make secrets, with a `kubectl` that only writes down what it is told."""
    there = pathlib.Path(work) / "guide"
    there.mkdir()
    kubectl = there / "kubectl"
    kubectl.write_text('#!/bin/sh\n{ for word; do printf "%s\\0" "$word"; done; printf "\\n"; } >> "$TOLD"\n')
    kubectl.chmod(0o755)
    told = there / "told"
    environment = {"PATH": f"{there}:{PROGRAMS}:{PATH}", "TOLD": str(told), "HOME": str(there)}
    made = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=there, env=environment, capture_output=True, text=True,
                          check=False)
    assert made.returncode == 0, made.stderr
    secrets = {}
    for line in told.read_text().splitlines():
        words = line.split("\0")
        if words[:3] != ["create", "secret", "generic"]:
            continue
        data = secrets[words[3]] = {}
        for word in words[4:]:
            kind, _, rest = word.partition("=")
            key, _, value = rest.rpartition("=")
            if kind == "--from-file":
                data[key or pathlib.Path(value).name] = (there / value).read_bytes()
            elif kind == "--from-literal":
                data[rest.partition("=")[0]] = rest.partition("=")[2]
    return secrets


def until_true(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True
