# SPDX-License-Identifier: Apache-2.0
"""Our sidecars by upstream's names with the rights that upstream's own manifests give (deploy/kubernetes in the modules of the
programs), at the mock driver: where only the image changes, the Roles stay. Needs kube-apiserver, etcd and the external-* sets;
without them it is skipped, and says so."""
import os
import pathlib
import subprocess

import apiserver
from crosswise import PORT, PROGRAMS, SERVER
from test_crosswise_mock import Story, cross, go_through_everything, needs_upstream   # noqa: F401 (fixture)

# What their manifests have commented out for drivers that need it, and what csi-provisioner's lack for claims that name a
# VolumeAttributesClass, which it needs as we do.
MORE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: more}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get]}
- {apiGroups: [storage.k8s.io], resources: [volumeattributesclasses], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: more}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: more}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: "system:serviceaccounts:default"}]
"""


def manifests():
    """Upstream's, all of them for one namespace."""
    cache = pathlib.Path(os.environ.get('CLEAT_CACHE', pathlib.Path.home() / '.cache/cleat'))
    for set_, program in {set_: program for program, (set_, _) in PROGRAMS.items()}.items():
        version = pathlib.Path(apiserver.find_tool(set_, program)).parent.name.removeprefix(f'{set_}-')
        (module,) = (cache / 'gomod/github.com/kubernetes-csi' / set_).glob(f'v*@v{version}')
        for file in sorted(module.glob('deploy/kubernetes/**/rbac-*.yaml')) or [module / 'deploy/kubernetes/rbac.yaml']:
            if file.name != 'rbac-external-provisioner.yaml':   # an older one of the snapshotter's tests
                yield file.read_text().replace('namespace: kube-system', 'namespace: default')


@needs_upstream
def test_the_rights_of_upstreams_manifests_do(cross):   # noqa: F811 (fixture)
    kubectl = [SERVER.with_name('kubectl'), f'--kubeconfig={cross.config}', '--namespace=default']

    def run(*words, **options):
        return subprocess.run(cross.cluster.inside([*kubectl, *words]), capture_output=True, text=True, check=True, **options).stdout
    for text in *manifests(), MORE:
        run('apply', '--filename=-', input=text)
    for program in PROGRAMS:
        cross.configs[program] = cross.cluster.kubeconfig(program, PORT, {'token': run('create', 'token', program).strip()})
    go_through_everything(Story(cross, 'ours'))
    assert 'forbidden' not in ''.join(p.read_text() for p in cross.dir.glob('*-ours.log'))
