"""Runs one container through containerd's CRI: record_containerd.py WORK OUT.

WORK holds b/rootfs (the image) and c.sock. Needs grpcio, and the stubs of the CRI's v1 api.proto in PYTHONPATH:
python3 -m grpc_tools.protoc -I DIR --python_out=DIR --grpc_python_out=DIR DIR/v1.proto
"""

import hashlib, io, json, os, pathlib, shutil, subprocess, sys, tarfile, time

import grpc
import v1_pb2 as cri
import v1_pb2_grpc as services

work, out = pathlib.Path(sys.argv[1]), sys.argv[2]
IMAGE = "localhost/corpus:1"


def image():
    """A docker archive of one layer, which containerd imports without a registry."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(work / "b/rootfs", arcname=".")
    layer = layer.getvalue()
    # The command is what the sandbox does until it is removed.
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sleep", "1000"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(work / "image.tar", "w") as tar:
        for name, content in (("layer.tar", layer), ("config.json", config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    subprocess.run(["ctr", "-a", work / "c.sock", "-n", "k8s.io", "images", "import", work / "image.tar"],
                   check=True, stdout=subprocess.DEVNULL)


image()
logs = work / "pods/default_corpus_uid"
(logs / "app").mkdir(parents=True)
runtime = services.RuntimeServiceStub(grpc.insecure_channel(f"unix://{work}/c.sock"))
namespaces = cri.NamespaceOption(network=cri.NODE, ipc=cri.NODE, pid=cri.CONTAINER)
sandbox_config = cri.PodSandboxConfig(
    metadata=cri.PodSandboxMetadata(name="corpus", uid="uid", namespace="default"), log_directory=str(logs),
    linux=cri.LinuxPodSandboxConfig(security_context=cri.LinuxSandboxSecurityContext(namespace_options=namespaces)))
sandbox = runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=sandbox_config)).pod_sandbox_id
container = runtime.CreateContainer(cri.CreateContainerRequest(
    pod_sandbox_id=sandbox, sandbox_config=sandbox_config,
    config=cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="app"), image=cri.ImageSpec(image=IMAGE),
        command=["/bin/sh", "/workload.sh"], log_path="app/0.log",
        linux=cri.LinuxContainerConfig(
            security_context=cri.LinuxContainerSecurityContext(namespace_options=namespaces))))).container_id
runtime.StartContainer(cri.StartContainerRequest(container_id=container))
while True:
    status = runtime.ContainerStatus(cri.ContainerStatusRequest(container_id=container)).status
    if status.state == cri.CONTAINER_EXITED:
        break
    time.sleep(0.05)
runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
shutil.copyfile(os.path.realpath(logs / "app/0.log"), out)
runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
