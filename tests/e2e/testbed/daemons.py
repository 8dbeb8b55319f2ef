# SPDX-License-Identifier: Apache-2.0
"""What the test cluster runs and how: each daemon's command line and files.

Every address is one of the cluster's own network namespaces, so two clusters
on a machine have the same ones. The API server listens on port 443 of all of
the first node's, the `kubernetes` Service's address among them, which lies on
its loopback interface: in-cluster clients need no proxy and no packet filter
that way, on other nodes neither, since all their ways lead to the first.
"""
import json

SERVICE_IP = "10.96.0.1"
SERVICE_RANGE = "10.96.0.0/16"
SERVER = f"https://{SERVICE_IP}:443"
ETCD = "http://127.0.0.1:2379"



def node_name(number):
    return f"node{number}"


def node_address(number):
    return f"10.99.0.{1 + number}"


def pod_range(number):
    return f"10.244.{number - 1}.0/24"


# The first.
NODE, NODE_IP = node_name(1), node_address(1)

# Where nodes die and come back: so many seconds after its last word a node is NotReady, and so many later the pods that
# tolerate it no longer are evicted.
MISSED_AFTER = 6
EVICTED_AFTER = 30

# Paths as a node's own mount namespace shows them.
KUBELET_ROOT = "/var/lib/kubelet"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


def etcd(bed):
    return ["etcd", "--name=one", f"--data-dir={bed.run}/etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=one=http://127.0.0.1:2380"]


def containerd(node):
    return ["containerd", f"--config={node.run}/conf/containerd.toml", "--log-level=info"]


def kube_apiserver(bed):
    pki = bed.run / "pki"
    return [bed.kubernetes("kube-apiserver"), f"--etcd-servers={ETCD}",
            "--secure-port=443", "--bind-address=0.0.0.0", f"--advertise-address={NODE_IP}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true", f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            # The node's name is in no DNS.
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={pki}/accounts.pub",
            f"--service-account-signing-key-file={pki}/accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc", "--v=1",
            *([f"--default-{what}-toleration-seconds={EVICTED_AFTER}" for what in ("not-ready", "unreachable")]
              if bed.workers else []),
            *([f"--audit-policy-file={bed.run}/conf/audit.json", f"--audit-log-path={bed.run}/log/audit.log",
               "--audit-log-mode=batch"] if bed.audit else [])]


def kube_controller_manager(bed):
    pki, config = bed.run / "pki", bed.run / "conf/kube-controller-manager.kubeconfig"
    return [bed.kubernetes("kube-controller-manager"), f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
            f"--service-account-private-key-file={pki}/accounts.key", f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1",
            f"--kube-api-qps={bed.manager_qps}", f"--kube-api-burst={2 * bed.manager_qps}", "--v=1",
            *(["--node-monitor-period=1s", f"--node-monitor-grace-period={MISSED_AFTER}s"] if bed.workers else [])]


def kube_scheduler(bed):
    config = bed.run / "conf/kube-scheduler.kubeconfig"
    return [bed.kubernetes("kube-scheduler"), f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
            "--leader-elect=false", "--bind-address=127.0.0.1",
            "--kube-api-qps=100", "--kube-api-burst=200", "--v=1"]


def kubelet(node):
    return [node.bed.kubernetes("kubelet"), f"--config={node.run}/conf/kubelet.yaml",
            f"--kubeconfig={node.run}/conf/kubelet.kubeconfig", f"--root-dir={KUBELET_ROOT}",
            f"--hostname-override={node.name}", f"--node-ip={node.address}", "--v=2"]


COMMANDS = {"etcd": etcd, "containerd": containerd, "kube-apiserver": kube_apiserver,
            "kube-controller-manager": kube_controller_manager, "kube-scheduler": kube_scheduler,
            "kubelet": kubelet}


def kubelet_configuration(node):
    """JSON is YAML.

    The short periods are for the test's patience: at their defaults a volume's
    state reaches the API server up to 10 s late, an expansion a minute late.
    Disks are never "full" here, since the machine's own disk is not the test's.
    """
    pki = node.bed.run / "pki"
    return json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/" + node.cgroup,
        "containerRuntimeEndpoint": "unix://" + CONTAINERD_SOCKET,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-{node.name}.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-{node.name}.key",
        "failSwapOn": False,
        # The tests kill containers on purpose, one after the other. Before Kubernetes 1.35 that has to be allowed.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                         "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "volumePluginDir": f"{node.run}/flexvolume",
        "syncFrequency": "1s",
        "nodeStatusUpdateFrequency": "1s",
        "volumeStatsAggPeriod": "10s",
        "serializeImagePulls": False,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "maxPods": 250,
        **({"nodeLeaseDurationSeconds": MISSED_AFTER - 2} if node.bed.workers else {}),
    }, indent=1)


def containerd_configuration(node):
    """Format 2, which containerd 1.6 of Debian 12 and 1.7 of Debian 13 read.

    restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE may not lower
    the score, and runc then fails every sandbox without saying why.
    """
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{node.run}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def audit_policy():
    return json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                       "rules": [{"level": "Metadata"}]})


def cni_configuration(node):
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": "pods0", "isGateway": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_range(node.number)}]],
                 "routes": [{"dst": "0.0.0.0/0"}]}}]})
